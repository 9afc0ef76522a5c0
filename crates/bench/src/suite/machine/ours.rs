//! Our own backends: cold, each command in a process of ours that boots a sandbox, and warm, out of a daemon's pool.

use super::course::{Course, Doer, Figure, Missing, NAME, Setup, Step, words};
use super::{Site, work};
use crate::suite::Benchmark;

/// Where the program that does the work is inside: no folder of the host's that a sandbox would have.
const INSIDE: &str = "/opt/agentkernel-bench-workload";
/// A place inside that can be written to.
const WRITABLE: &str = "/workspace";

/// A backend.
#[derive(Debug)]
pub struct Ours {
    /// Its name.
    pub backend: String,
    /// What is in its way here.
    pub obstacle: Option<String>,
    /// Whether it is warm: out of the daemon's pool.
    pub is_warm: bool,
}

impl Doer for Ours {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        if let Some(obstacle) = &self.obstacle {
            return Err(obstacle.as_str().into());
        }
        match benchmark {
            Benchmark::Startup | Benchmark::Phases | Benchmark::Concurrent | Benchmark::Stress => {
                Ok(self.run(benchmark, site))
            }
            _ if self.is_warm => Err(Missing::Elsewhere),
            Benchmark::Fork => Err("no backend of ours can make two of a running sandbox".into()),
            Benchmark::Lifecycle => Ok(self.lifecycle(site)),
            Benchmark::Exec => Ok(self.living(site, Self::saying(site, &["exec", &self.name()]))),
            _ if self.is_wasm() => {
                Err("it has no programs and no files inside, but a module for each call".into())
            }
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io => self.inside(benchmark, site),
            Benchmark::Memory if site.daemon.is_some() => {
                Err("a daemon that was named does not tell its sandboxes' processes".into())
            }
            Benchmark::Memory if matches!(&*self.backend, "docker" | "podman" | "apple") => {
                Err("its container's process is known to the engine alone; measure the engine itself by --vs"
                    .into())
            }
            Benchmark::Memory => Ok(self.memory(site)),
            Benchmark::Copy => Ok(self.copy(site)),
        }
    }

    fn is_others(&self) -> bool {
        false
    }
}

impl Ours {
    fn is_wasm(&self) -> bool {
        self.backend == "wasm"
    }

    fn name(&self) -> String {
        format!("bench-{}", self.backend)
    }

    /// Words to our program.
    fn told(site: &Site, said: &[&str]) -> Vec<String> {
        std::iter::once(site.program.display().to_string())
            .chain(said.iter().map(|word| (*word).to_owned()))
            .collect()
    }

    /// What kind of sandbox it is.
    fn kind(&self, site: &Site) -> Vec<String> {
        let mut kind = words(["--backend", &self.backend]);
        if self.is_wasm() {
            kind.extend(words(["--module", &work::module(site).display().to_string()]));
        }
        kind
    }

    /// The command that says the token. The module's first word is its name.
    fn command(site: &Site) -> Vec<String> {
        words(["--", "echo", &site.token])
    }

    fn saying(site: &Site, said: &[&str]) -> Step {
        Step::saying("exec", [Self::told(site, said), Self::command(site)].concat(), &site.token)
    }

    /// One command in a sandbox of its own.
    fn run(&self, benchmark: Benchmark, site: &Site) -> Course {
        let cold: &[&str] = if self.is_warm { &["run"] } else { &["run", "--no-daemon"] };
        let tells: &[&str] = if benchmark == Benchmark::Phases { &["--format", "json"] } else { &[] };
        let said = [Self::told(site, cold), self.kind(site), words_of(tells), Self::command(site)].concat();
        let course = Course::one(said, site);
        let figure = if benchmark == Benchmark::Phases { Figure::Phases } else { Figure::Wall };
        let pool = self.is_warm.then(|| self.backend.clone());
        let kind = self.kind(site);
        let size = site.pool_size(benchmark);
        let set = || {
            Setup::Run(Step::quiet(
                "pool",
                [Self::told(site, &["pool", "set", &size]), kind.clone()].concat(),
            ))
        };
        let drain = || Step::quiet("pool", [Self::told(site, &["pool", "drain"]), kind.clone()].concat());
        Course {
            before: self.is_warm.then(set).into_iter().collect(),
            after: self.is_warm.then(drain).into_iter().collect(),
            figure,
            by_daemon: self.is_warm,
            pool,
            ..course
        }
    }

    /// A sandbox of the daemon's that lives for all samples.
    fn living(&self, site: &Site, timed: Step) -> Course {
        let create = [Self::told(site, &["create", "--name", &self.name()]), self.kind(site)].concat();
        Course {
            before: vec![Setup::Run(Step::saying("create", create, &self.name()))],
            timed: vec![timed],
            after: vec![Step::quiet("rm", Self::told(site, &["rm", "-f", &self.name()]))],
            by_daemon: true,
            ..Course::default()
        }
    }

    fn lifecycle(&self, site: &Site) -> Course {
        let create = [Self::told(site, &["create", "--name", NAME]), self.kind(site)].concat();
        let exec = Step { part: "exec", ..Self::saying(site, &["exec", NAME]) };
        Course {
            // It is started as it is created: there is no other word for that.
            timed: vec![
                Step::saying("create", create, NAME),
                exec,
                Step::quiet("stop", Self::told(site, &["stop", NAME])),
                Step::quiet("rm", Self::told(site, &["rm", NAME])),
            ],
            rescue: vec![Step::quiet("rm", Self::told(site, &["rm", "-f", NAME]))],
            by_daemon: true,
            ..Course::default()
        }
    }

    fn memory(&self, site: &Site) -> Course {
        let inspect = Step::quiet("look", Self::told(site, &["inspect", &self.name(), "--format", "json"]));
        Course { figure: Figure::MemoryOf("/pid"), ..self.living(site, inspect) }
    }

    fn inside(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        let mount = format!("{}:{INSIDE}:ro", work::program(site).display());
        let run = [Self::told(site, &["run", "--no-daemon", "-v", &mount]), self.kind(site)].concat();
        let around = |words: Vec<String>| [run.clone(), vec!["--".to_owned()], words].concat();
        work::inside(benchmark, site, INSIDE.as_ref(), WRITABLE, &around)
    }

    fn copy(&self, site: &Site) -> Course {
        let inside = |name: &str| format!("{}:{WRITABLE}/{name}", self.name());
        let cp = |from: &str, to: &str| Self::told(site, &["cp", from, to]);
        let Course { timed, brings, .. } = work::copying(site, &self.backend, &inside, &cp);
        let removal = ["exec", &self.name(), "--", "rm", "-r", "/workspace/file", "/workspace/tree"];
        let between = vec![Step::quiet("rm", Self::told(site, &removal))];
        Course { timed, brings, between, ..self.living(site, Self::saying(site, &[])) }
    }
}

fn words_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
