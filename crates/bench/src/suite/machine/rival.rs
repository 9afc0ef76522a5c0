//! Others' tools that do the same job: container engines, bubblewrap and Wasmtime.

use std::path::Path;

use super::course::{Course, Crowd, Doer, Figure, Missing, NAME, Setup, Step, Whose, words};
use super::held::CONTAINER_PID;
use super::proving::{Expects, Proving};
use super::runtime::Raw;
use super::{Site, work};
use crate::suite::Benchmark;

/// All of them.
pub const NAMES: [&str; 6] = ["docker", "podman", "bwrap", "runc", "runsc", "wasmtime"];

/// Where the program that does the work is in a container.
const INSIDE: &str = "/agentkernel-bench-workload";
/// The first process of a container that lives: it waits, and ends when it is told to, which PID 1 does not by itself.
const WAITS: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

/// The tool of this name; `None` if nobody knows it.
pub fn doer(name: &str) -> Option<Box<dyn Doer>> {
    match NAMES.into_iter().find(|known| *known == name)? {
        "bwrap" => Some(Box::new(Bubblewrap)),
        "wasmtime" => Some(Box::new(Wasmtime)),
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
        let engine = self.on(site)?;
        match benchmark {
            Benchmark::Phases => Err("it tells no phases".into()),
            Benchmark::Fork => {
                Err("it can make two of a running container by a checkpoint only, which needs CRIU".into())
            }
            Benchmark::Exec => Ok(engine.living(&[], engine.saying(&["exec", &engine.container]))),
            Benchmark::Lifecycle => Ok(engine.lifecycle()),
            Benchmark::Memory => Ok(engine.memory()),
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io | Benchmark::Output => {
                engine.inside(benchmark)
            }
            Benchmark::Copy => Ok(engine.copy()),
            _ => Ok(Course::one(engine.run(&[], &["echo", &site.token]), site)),
        }
    }

    fn proof(&self, site: &Site) -> Result<Proving, Missing> {
        let engine = self.on(site)?;
        let facts = Step::quiet("facts", engine.told(&["exec", &engine.container, INSIDE, "facts"]));
        Ok(Proving { course: engine.memory(), facts, expects: Expects::Others { own_kernel: false } })
    }

    fn is_others(&self) -> bool {
        true
    }
}

impl Engine {
    fn on<'a>(&self, site: &'a Site) -> Result<OnEngine<'a>, Missing> {
        let container = format!("agentkernel-bench-{}", std::process::id());
        Ok(OnEngine { site, first: site.engine(self.name)?, is_podman: self.name == "podman", container })
    }
}

/// The words that an engine is told.
struct OnEngine<'a> {
    site: &'a Site,
    first: Vec<String>,
    is_podman: bool,
    container: String,
}

impl OnEngine<'_> {
    fn told(&self, said: &[&str]) -> Vec<String> {
        self.first.iter().map(String::as_str).chain(said.iter().copied()).map(str::to_owned).collect()
    }

    /// Nothing is fetched: an image that is not there is a reason.
    fn run(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        let run: &[&str] = &["run", "--rm", "--pull=never", "--network=none"];
        self.told(&[run, self.limits(), flags, &[&self.site.image], command].concat())
    }

    /// Podman's own limits of open files and processes are higher than root may set everywhere: those of our sandboxes are not.
    fn limits(&self) -> &'static [&'static str] {
        if self.is_podman { &["--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096"] } else { &[] }
    }

    fn saying(&self, said: &[&str]) -> Step {
        Step::saying("exec", self.told(&[said, &["echo", &self.site.token]].concat()), &self.site.token)
    }

    fn living(&self, flags: &[&str], timed: Step) -> Course {
        let detached = ["--detach", "--name", &self.container];
        let run = self.run(&[&detached, flags].concat(), &["sh", "-c", WAITS]);
        Course {
            before: vec![Setup::Run(Step::quiet("run", run))],
            timed: vec![timed],
            after: vec![Step::quiet("rm", self.told(&["rm", "-f", &self.container]))],
            ..Course::default()
        }
    }

    fn lifecycle(&self) -> Course {
        let create = ["create", "--pull=never", "--network=none", "--name", NAME];
        let create = [&create, self.limits(), &[&self.site.image, "sh", "-c", WAITS]].concat();
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
        let make = self.run(&["--detach", "--name", NAME], &["sh", "-c", WAITS]);
        let remove = Step::quiet("rm", self.told(&["rm", "-f", NAME]));
        let hold = ["exec", "-i", &self.container, INSIDE, "hold", &self.site.token];
        Course {
            figure: Figure::MemoryOf(Whose::Pid(CONTAINER_PID)),
            crowd: Some(Crowd::Made(Step::quiet("make", make), remove)),
            hold: Some(self.told(&hold)),
            ..self.living(&["--volume", &self.mount()], inspect)
        }
    }

    fn mount(&self) -> String {
        format!("{}:{INSIDE}:ro", work::program(self.site).display())
    }

    fn inside(&self, benchmark: Benchmark) -> Result<Course, Missing> {
        let around = |command: Vec<String>| {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            self.run(&["--volume", &self.mount()], &command)
        };
        work::inside(benchmark, self.site, Path::new(INSIDE), "/tmp", &around)
    }

    fn copy(&self) -> Course {
        let inside = |name: &str| format!("{}:/{name}", self.container);
        let cp = |from: &str, to: &str| self.told(&["cp", from, to]);
        let Course { timed, brings, .. } = work::copying(self.site, "engine", &inside, &cp);
        let removal = self.told(&["exec", &self.container, "rm", "-r", "/file", "/tree"]);
        let between = vec![Step::quiet("rm", removal)];
        Course { timed, brings, between, ..self.living(&[], Step::quiet("", Vec::new())) }
    }
}

/// Bubblewrap, which sees the host's own files.
#[derive(Debug)]
struct Bubblewrap;

impl Bubblewrap {
    /// Its words around a command. Where the work is may be below /tmp, which therefore stays as it is.
    fn around(site: &Site) -> Result<impl Fn(Vec<String>) -> Vec<String>, Missing> {
        let program = site.host_program("bwrap")?;
        let flags = words([&program, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]);
        let flags = [flags, words(["--dev", "/dev", "--tmpfs", "/run"])].concat();
        Ok(move |command: Vec<String>| [flags.clone(), command].concat())
    }
}

impl Doer for Bubblewrap {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        let around = Self::around(site)?;
        let workload = work::program(site);
        match benchmark {
            Benchmark::Phases => Err("it tells no phases".into()),
            Benchmark::Exec | Benchmark::Lifecycle | Benchmark::Fork => {
                Err("its sandbox is one process tree, which nothing can be started into".into())
            }
            Benchmark::Copy => Err("its files are the host's".into()),
            Benchmark::Memory => {
                let program = workload.display().to_string();
                let idle = around(words([&program, "idle", &site.token]));
                Ok(Course {
                    before: vec![Setup::Stay(idle.clone())],
                    figure: Figure::MemoryOfThose,
                    crowd: Some(Crowd::Staying(idle)),
                    hold: Some(around(work::holding(site, &program))),
                    ..Course::default()
                })
            }
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io | Benchmark::Output => {
                work::inside(benchmark, site, &workload, "/run", &around)
            }
            _ => Ok(Course::one(around(words(["echo", &site.token])), site)),
        }
    }

    fn proof(&self, site: &Site) -> Result<Proving, Missing> {
        let facts = Self::around(site)?(words([&work::program(site).display().to_string(), "facts"]));
        let facts = Step::quiet("facts", facts);
        Ok(Proving { course: Course::default(), facts, expects: Expects::Others { own_kernel: false } })
    }

    fn is_others(&self) -> bool {
        true
    }
}

/// Wasmtime's own command, with the module that our sandboxes are given, and with its cache of machine code as it has it by
/// default.
#[derive(Debug)]
struct Wasmtime;

impl Doer for Wasmtime {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        match benchmark {
            Benchmark::Startup | Benchmark::Concurrent | Benchmark::Stress => {
                let (program, module) = (site.host_program("wasmtime")?, work::module(site));
                Ok(Course::one(words([&program, "run", &module.display().to_string(), &site.token]), site))
            }
            Benchmark::Phases => Err("it tells no phases".into()),
            _ => Err("it is one process for one module, and has no programs inside".into()),
        }
    }

    fn proof(&self, _site: &Site) -> Result<Proving, Missing> {
        Err("it has no programs inside that could look".into())
    }

    fn is_others(&self) -> bool {
        true
    }
}
