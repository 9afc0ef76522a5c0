//! runc and runsc by their own command lines, each on the bundle and the root folder of our own sandboxes.

use agentkernel_oci::engine::Engine;

use super::bundles::Bundles;
use super::course::{Course, Crowd, Doer, Figure, Missing, NAME, Setup, Step, Whose, words};
use super::proving::{Expects, Proving};
use super::{Site, work};
use crate::sandbox::target::{self, Target};
use crate::suite::Benchmark;
use crate::workload::PLACE;

/// The container that lives for all samples.
const LIVING: &str = "agentkernel-bench-living";

/// A raw runtime.
#[derive(Debug)]
pub struct Raw {
    engine: Engine,
}

impl Raw {
    /// The one of this name; `None` if it is none.
    pub fn named(name: &str) -> Option<Self> {
        let engine = [Engine::Runc, Engine::Gvisor].into_iter().find(|engine| engine.program() == name)?;
        Some(Self { engine })
    }

    fn on<'a>(&self, site: &'a Site) -> Result<On<'a>, Missing> {
        let (target, runtime) = target::find(self.engine, &site.folders).map_err(|error| error.why)?;
        Ok(On { site, target, bundles: Bundles::of(site, &runtime) })
    }
}

impl Doer for Raw {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        match benchmark {
            Benchmark::Phases => return Err("it tells no phases".into()),
            Benchmark::Copy => return Err("it copies nothing".into()),
            Benchmark::Fork => return Err("it makes two of a container by a checkpoint only".into()),
            Benchmark::Lifecycle => return Err("it keeps no container that has stopped".into()),
            _ => {}
        }
        let on = self.on(site)?;
        match benchmark {
            Benchmark::Exec => Ok(on.exec()),
            Benchmark::Memory => Ok(on.memory()),
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io | Benchmark::Output => on.inside(benchmark),
            _ => Ok(on.fresh(Course::one(on.run(NAME), site), words([PLACE, "print", &site.token]))),
        }
    }

    fn proof(&self, site: &Site) -> Result<Proving, Missing> {
        let on = self.on(site)?;
        let own_kernel = on.target.has_own_kernel;
        let bundles = Some(on.bundles.doing(words([PLACE, "facts"]), None));
        Ok(Proving {
            course: Course { bundles, ..Course::default() },
            facts: Step::quiet("facts", on.run(NAME)),
            expects: Expects::Others { own_kernel },
        })
    }

    fn is_others(&self) -> bool {
        true
    }
}

/// A runtime with its bundles.
struct On<'a> {
    site: &'a Site,
    target: Target,
    bundles: Bundles,
}

impl On<'_> {
    fn told(&self, said: &[&str]) -> Vec<String> {
        let state = self.bundles.state().display().to_string();
        let first = words([&self.target.program.display().to_string(), "--root", &state]);
        let said = said.iter().map(|word| (*word).to_owned());
        first.into_iter().chain(self.target.flags.iter().cloned()).chain(said).collect()
    }

    fn run(&self, name: &str) -> Vec<String> {
        let bundle = self.bundles.folder(name).display().to_string();
        self.told(&["run", "--bundle", &bundle, name])
    }

    /// Each sample has a bundle of its own that does this work.
    fn fresh(&self, course: Course, work: Vec<String>) -> Course {
        Course { bundles: Some(self.bundles.doing(work, None)), ..course }
    }

    /// A container that waits for as long as its input is open.
    fn living(&self, timed: Step) -> Course {
        let work = words([PLACE, "idle", &self.site.token]);
        Course {
            before: vec![Setup::Stay(self.run(LIVING))],
            timed: vec![timed],
            after: vec![Step::quiet("delete", self.told(&["delete", "--force", LIVING]))],
            bundles: Some(self.bundles.doing(work, Some(LIVING))),
            ..Course::default()
        }
    }

    fn exec(&self) -> Course {
        let print = self.told(&["exec", LIVING, PLACE, "print", &self.site.token]);
        self.living(Step::saying("exec", print, &self.site.token))
    }

    fn memory(&self) -> Course {
        let state = Step::quiet("look", self.told(&["state", LIVING]));
        let hold = self.told(&["exec", LIVING, PLACE, "hold", &self.site.token]);
        let (figure, crowd) = (Figure::MemoryOf(Whose::Pid("/pid")), Some(Crowd::Staying(self.run(NAME))));
        Course { figure, crowd, hold: Some(hold), ..self.living(state) }
    }

    fn inside(&self, benchmark: Benchmark) -> Result<Course, Missing> {
        let course = work::inside(benchmark, self.site, PLACE.as_ref(), "/workspace", &|words| words)?;
        let work = course.timed.iter().flat_map(|step| step.words.clone()).collect();
        let timed = course.timed.iter().map(|step| Step { words: self.run(NAME), ..step.clone() }).collect();
        Ok(self.fresh(Course { timed, ..course }, work))
    }
}
