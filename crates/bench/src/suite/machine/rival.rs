//! Others' tools that do the same job: container engines and bubblewrap.

use std::path::Path;

use super::course::{Course, Doer, Figure, Missing, NAME, Setup, Step, words};
use super::runtime::Raw;
use super::{Site, work};
use crate::suite::Benchmark;

/// All of them.
pub const NAMES: [&str; 5] = ["docker", "podman", "bwrap", "runc", "runsc"];

/// Where the program that does the work is in a container.
const INSIDE: &str = "/agentkernel-bench-workload";
/// The first process of a container that lives: it waits, and ends when it is told to, which PID 1 does not by itself.
const WAITS: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

/// The tool of this name; `None` if nobody knows it.
pub fn doer(name: &str) -> Option<Box<dyn Doer>> {
    match NAMES.into_iter().find(|known| *known == name)? {
        "bwrap" => Some(Box::new(Bubblewrap)),
        engine @ ("docker" | "podman") => Some(Box::new(Engine { name: engine })),
        runtime => Raw::named(runtime).map(|raw| Box::new(raw) as Box<dyn Doer>),
    }
}

/// A container engine by its own command line.
#[derive(Debug)]
struct Engine {
    name: &'static str,
}

impl Doer for Engine {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        let program = site.host_program(self.name)?;
        let engine =
            OnEngine { site, program, container: format!("agentkernel-bench-{}", std::process::id()) };
        match benchmark {
            Benchmark::Phases => Err("it tells no phases".into()),
            Benchmark::Fork => {
                Err("it can make two of a running container by a checkpoint only, which needs CRIU".into())
            }
            Benchmark::Exec => Ok(engine.living(engine.saying(&["exec", &engine.container]))),
            Benchmark::Lifecycle => Ok(engine.lifecycle()),
            Benchmark::Memory => Ok(engine.memory()),
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io => engine.inside(benchmark),
            Benchmark::Copy => Ok(engine.copy()),
            _ => Ok(Course::one(engine.run(&[], &["echo", &site.token]), site)),
        }
    }

    fn is_others(&self) -> bool {
        true
    }
}

/// The words that an engine is told.
struct OnEngine<'a> {
    site: &'a Site,
    program: String,
    container: String,
}

impl OnEngine<'_> {
    fn told(&self, said: &[&str]) -> Vec<String> {
        std::iter::once(&*self.program).chain(said.iter().copied()).map(str::to_owned).collect()
    }

    /// Nothing is fetched: an image that is not there is a reason.
    fn run(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        let run: &[&str] = &["run", "--rm", "--pull=never", "--network=none"];
        self.told(&[run, flags, &[&self.site.image], command].concat())
    }

    fn saying(&self, said: &[&str]) -> Step {
        Step::saying("exec", self.told(&[said, &["echo", &self.site.token]].concat()), &self.site.token)
    }

    fn living(&self, timed: Step) -> Course {
        let run = self.run(&["--detach", "--name", &self.container], &["sh", "-c", WAITS]);
        Course {
            before: vec![Setup::Run(Step::quiet("run", run))],
            timed: vec![timed],
            after: vec![Step::quiet("rm", self.told(&["rm", "-f", &self.container]))],
            ..Course::default()
        }
    }

    fn lifecycle(&self) -> Course {
        let create =
            ["create", "--pull=never", "--network=none", "--name", NAME, &self.site.image, "sh", "-c", WAITS];
        Course {
            timed: vec![
                Step::quiet("create", self.told(&create)),
                Step::quiet("start", self.told(&["start", NAME])),
                self.saying(&["exec", NAME]),
                Step::quiet("stop", self.told(&["stop", NAME])),
                Step::quiet("rm", self.told(&["rm", NAME])),
            ],
            rescue: vec![Step::quiet("rm", self.told(&["rm", "-f", NAME]))],
            ..Course::default()
        }
    }

    fn memory(&self) -> Course {
        let inspect = Step::quiet("look", self.told(&["container", "inspect", &self.container]));
        Course { figure: Figure::MemoryOf("/0/State/Pid"), ..self.living(inspect) }
    }

    fn inside(&self, benchmark: Benchmark) -> Result<Course, Missing> {
        let mount = format!("{}:{INSIDE}:ro", work::program(self.site).display());
        let around = |command: Vec<String>| {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            self.run(&["--volume", &mount], &command)
        };
        work::inside(benchmark, self.site, Path::new(INSIDE), "/tmp", &around)
    }

    fn copy(&self) -> Course {
        let inside = |name: &str| format!("{}:/{name}", self.container);
        let cp = |from: &str, to: &str| self.told(&["cp", from, to]);
        let Course { timed, brings, .. } = work::copying(self.site, "engine", &inside, &cp);
        let removal = self.told(&["exec", &self.container, "rm", "-r", "/file", "/tree"]);
        let between = vec![Step::quiet("rm", removal)];
        Course { timed, brings, between, ..self.living(Step::quiet("", Vec::new())) }
    }
}

/// Bubblewrap, which sees the host's own files.
#[derive(Debug)]
struct Bubblewrap;

impl Doer for Bubblewrap {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        let program = site.host_program("bwrap")?;
        let around = |command: Vec<String>| {
            let flags = words([&program, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]);
            // Where the work is may be below /tmp, which therefore stays as it is.
            [flags, words(["--dev", "/dev", "--tmpfs", "/run"]), command].concat()
        };
        let workload = work::program(site);
        match benchmark {
            Benchmark::Phases => Err("it tells no phases".into()),
            Benchmark::Exec | Benchmark::Lifecycle | Benchmark::Fork => {
                Err("its sandbox is one process tree, which nothing can be started into".into())
            }
            Benchmark::Copy => Err("its files are the host's".into()),
            Benchmark::Memory => {
                let idle = words([&workload.display().to_string(), "idle", &site.token]);
                let figure = Figure::MemoryOfThose;
                Ok(Course { before: vec![Setup::Stay(around(idle))], figure, ..Course::default() })
            }
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io => {
                work::inside(benchmark, site, &workload, "/run", &around)
            }
            _ => Ok(Course::one(around(words(["echo", &site.token])), site)),
        }
    }

    fn is_others(&self) -> bool {
        true
    }
}
