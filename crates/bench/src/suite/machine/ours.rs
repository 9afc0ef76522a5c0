//! Our own backends: cold, each command in a process of ours that boots a sandbox, and warm, out of a daemon's pool.

mod living;

use agentkernel_oci::HostFacts;

use super::course::{Course, Doer, Figure, Missing, Setup, Step, Whose, words};
use super::proving::{Expects, Proving};
use super::{Site, work};
use crate::sandbox::GroupLimits;
use crate::suite::Benchmark;
use crate::workload;

/// Where the program that does the work is inside: no folder of the host's that a sandbox would have.
const INSIDE: &str = "/opt/agentkernel-bench-workload";

/// A backend.
#[derive(Debug)]
pub struct Ours {
    /// Its name.
    pub backend: String,
    /// What is in its way here.
    pub obstacle: Option<String>,
    /// Whether its machine is emulated in software.
    pub is_emulated: bool,
    /// Which of its kind.
    pub kind: Kind,
}

/// How it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Made for each command.
    Cold,
    /// Out of the daemon's pool.
    Warm,
    /// Cold, on a root folder like that of a raw runtime, with its work: for what our layer adds.
    OnRawRoot,
}

/// What the sandbox is given that is looked at.
const PROVEN_MEMORY_MIB: u64 = 512;
/// Likewise: as many processes.
const PROVEN_PIDS: u64 = 256;
/// Likewise: one processor.
const PROVEN_CPU: GroupLimits =
    GroupLimits { memory_bytes: 0, cpu_quota_us: 100_000, cpu_period_us: 100_000, pids: 0, swap: false };

impl Doer for Ours {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        self.works()?;
        match benchmark {
            Benchmark::Concurrent | Benchmark::Stress if self.kind == Kind::OnRawRoot => {
                Err(Missing::Elsewhere)
            }
            Benchmark::Startup | Benchmark::Phases | Benchmark::Concurrent | Benchmark::Stress => {
                Ok(self.run(benchmark, site))
            }
            _ if self.kind != Kind::Cold => Err(Missing::Elsewhere),
            Benchmark::Fork => self.fork(site),
            Benchmark::Lifecycle => Ok(self.lifecycle(site)),
            Benchmark::Exec => Ok(self.living(site, Self::saying(site, &["exec", &self.name()]))),
            Benchmark::Memory => Ok(self.memory(site)),
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io | Benchmark::Output => {
                self.has_programs().and_then(|()| self.inside(benchmark, site))
            }
            Benchmark::Copy => self.has_programs().map(|()| self.copy(site)),
        }
    }

    fn proof(&self, site: &Site) -> Result<Proving, Missing> {
        self.works()?;
        if self.kind != Kind::Cold {
            return Err(Missing::Elsewhere);
        }
        self.has_programs()?;
        let facts = Self::told(site, &["exec", &self.name(), "--", self.place(), "facts"]);
        let own_kernel = !matches!(&*self.backend, "oci" | "runc" | "crun" | "docker" | "podman");
        let (memory_bytes, pids) = (PROVEN_MEMORY_MIB << 20, PROVEN_PIDS);
        let limits = GroupLimits { memory_bytes, pids, swap: HostFacts::gather().swap, ..PROVEN_CPU };
        let (memory, pids) = (format!("{PROVEN_MEMORY_MIB}M"), pids.to_string());
        let before = self.with_workload(site, &["--memory", &memory, "--cpus", "1", "--pids", &pids]);
        Ok(Proving {
            course: Course { before, ..self.memory(site) },
            facts: Step::quiet("facts", facts),
            // With a kernel of its own, what its host's group has to allow is more than what it has itself.
            expects: Expects::Ours { own_kernel, limits: (!own_kernel).then_some(limits) },
        })
    }

    fn is_others(&self) -> bool {
        false
    }
}

impl Ours {
    fn works(&self) -> Result<(), Missing> {
        self.obstacle.as_deref().map_or(Ok(()), |obstacle| Err(obstacle.into()))
    }

    fn has_programs(&self) -> Result<(), Missing> {
        self.obstacle_inside().map_or(Ok(()), |obstacle| Err(obstacle.into()))
    }

    fn is_wasm(&self) -> bool {
        self.backend == "wasm"
    }

    /// Why no program of ours can be put into it, if none can.
    fn obstacle_inside(&self) -> Option<&'static str> {
        match &*self.backend {
            "wasm" => Some("it has no programs and no files inside, but a module for each call"),
            "hyperlight" => Some("no file of the host can be mounted into its machine"),
            _ => None,
        }
    }

    /// Where the first process of a sandbox is told, or why it is not.
    fn first_process(&self, site: &Site) -> Result<Whose, String> {
        if site.daemon.is_some() {
            return Err("a daemon that was named does not tell its sandboxes' processes".into());
        }
        match &*self.backend {
            "oci" | "runc" | "crun" | "gvisor" => Ok(Whose::Pid("/pid")),
            engine @ ("docker" | "podman") => {
                Ok(Whose::Container(site.engine(engine)?, "/sandbox/host_name"))
            }
            _ => Err("its sandbox is no process that is told; see what many of them take together".into()),
        }
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
        if self.is_emulated {
            kind.push("--emulate".into());
        }
        if self.kind == Kind::OnRawRoot {
            kind.extend(words(["--rootfs", &work::raw_root(site).display().to_string()]));
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
        let is_warm = self.kind == Kind::Warm;
        let cold: &[&str] = if is_warm { &["run"] } else { &["run", "--no-daemon"] };
        let tells: &[&str] = if benchmark == Benchmark::Phases { &["--format", "json"] } else { &[] };
        let raw = ["--", workload::PLACE, "print", &site.token];
        let command = if self.kind == Kind::OnRawRoot { words(raw) } else { Self::command(site) };
        let said = [Self::told(site, cold), self.kind(site), words_of(tells), command].concat();
        let course = Course::one(said, site);
        let figure = if benchmark == Benchmark::Phases { Figure::Phases } else { Figure::Wall };
        let pool = is_warm.then(|| self.backend.clone());
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
            before: is_warm.then(set).into_iter().collect(),
            after: is_warm.then(drain).into_iter().collect(),
            figure,
            by_daemon: is_warm,
            pool,
            ..course
        }
    }
}

fn words_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
