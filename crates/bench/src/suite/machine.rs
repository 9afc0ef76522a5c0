//! The real subject: starts programs, judges what they did, and gives the time of those that were right.

mod bundles;
pub mod course;
mod crowd;
mod daemon;
mod doctor;
mod e2b;
mod floor;
mod held;
mod ours;
pub mod phases;
mod prepared;
pub mod proving;
mod rival;
mod running;
mod runtime;
mod site;
mod taking;
mod talking;
mod wanted;
pub mod work;

use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentkernel_core::{Error, ErrorKind, Result};

use self::course::{Doer, Missing};
use self::daemon::Daemon;
pub use self::floor::HOST;
use self::prepared::Prepared;
use self::proving::Proven;
use self::running::Doing;
pub use self::site::Site;
pub use self::wanted::Wanted;
use super::benchmark::Benchmark;
use super::interrupt::{First, Interrupt};
use super::subject::{NotReady, Sample, Subject, Task};
use crate::refusal::{Cause, Failure, Refusal, host};

/// How the name of a target ends whose machine is emulated in software.
pub const EMULATED: &str = ", emulated in software";

/// How long between two looks at a pool.
const LOOK: Duration = Duration::from_millis(5);

/// A target by name, and how it does what is measured.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// How.
    pub doer: Box<dyn Doer>,
}

/// Starts programs.
#[derive(Debug)]
pub struct Machine {
    site: Site,
    targets: Vec<Target>,
    kvm: Option<String>,
    origin: Instant,
    interrupt: Interrupt,
    prepared: BTreeMap<usize, Prepared>,
    proven: BTreeMap<usize, Proven>,
    daemon: Option<Daemon>,
    samples: AtomicU64,
}

impl Machine {
    /// For the bare host and for whoever is wanted.
    ///
    /// # Errors
    /// A name that nobody knows, or a doctor that cannot be asked.
    pub fn new(site: Site, wanted: &Wanted) -> Result<(Self, PipeWriter)> {
        let (targets, kvm) = wanted.targets(&site)?;
        work::stage(&site).map_err(|why| host("stage the work", site.work.display(), why))?;
        let (interrupt, trigger) =
            Interrupt::new().map_err(|why| host("make ready for an interruption", "a pipe", why))?;
        Ok((Self { kvm, ..Self::of(site, targets, interrupt) }, trigger))
    }

    /// For exactly these targets.
    #[must_use]
    pub fn of(site: Site, targets: Vec<Target>, interrupt: Interrupt) -> Self {
        Self {
            site,
            targets,
            kvm: None,
            origin: Instant::now(),
            interrupt,
            prepared: BTreeMap::new(),
            proven: BTreeMap::new(),
            daemon: None,
            samples: AtomicU64::new(0),
        }
    }

    /// What all targets have in common.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// How this machine has KVM, in doctor's words.
    #[must_use]
    pub fn kvm(&self) -> Option<String> {
        self.kvm.clone()
    }

    /// The targets, and the words of each one's startup.
    #[must_use]
    pub fn described(&self) -> BTreeMap<String, String> {
        let words = |target: &Target| match target.doer.course(Benchmark::Startup, &self.site) {
            Ok(course) => course.in_words(),
            Err(Missing::Absent(why)) => why,
            Err(Missing::Elsewhere) => String::new(),
        };
        self.targets.iter().map(|target| (target.name.clone(), words(target))).collect()
    }

    /// What was found of each target's isolation, before anything of it was timed.
    #[must_use]
    pub fn proven(&self) -> BTreeMap<String, Proven> {
        let named =
            |(target, proven): (&usize, &Proven)| (self.targets[*target].name.clone(), proven.clone());
        self.proven.iter().map(named).collect()
    }

    fn doing(&self, target: usize, what: &'static str) -> Doing<'_> {
        Doing { target: &self.targets[target].name, what }
    }

    fn ready(&self, target: usize) -> std::result::Result<&Prepared, Failure> {
        self.prepared.get(&target).ok_or_else(|| {
            let name = &self.targets[target].name;
            Failure::Error(Error::new(ErrorKind::Internal, "run the target", "it is not ready").on(name))
        })
    }

    /// A name that no other sample has, on this host.
    fn own_name(&self) -> String {
        format!("bench-{}-{}", std::process::id(), self.samples.fetch_add(1, Ordering::Relaxed))
    }
}

impl Subject for Machine {
    fn targets(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.name.clone()).collect()
    }

    /// Looks at its isolation, and tries it once. Others' tools that fail cannot run here; whatever says the wrong thing is
    /// refused.
    fn prepare(&mut self, target: usize, benchmark: Benchmark) -> std::result::Result<(), NotReady> {
        let doer = &self.targets[target].doer;
        let is_others = doer.is_others();
        let course = doer.course(benchmark, &self.site)?;
        let is_one = course.alone.is_none();
        let task = Task { benchmark, target, round: None };
        let mut ready = self.prove(target).and_then(|()| self.set_up(target, benchmark.key(), course));
        if ready.is_ok() && is_one {
            ready = self.take(&task).map(drop).map_err(NotReady::from);
        }
        match ready {
            Err(NotReady::Failure(Failure::Refused(Refusal {
                cause: cause @ (Cause::WrongExit { .. } | Cause::Declined { .. }),
                ..
            }))) if is_others => Err(NotReady::Absent(cause.to_string())),
            ready => ready,
        }
    }

    fn alone(&self, target: usize) -> Option<String> {
        self.prepared.get(&target)?.course.alone.clone()
    }

    fn settle(&self, task: &Task, at_once: u32) -> std::result::Result<(), Failure> {
        let course = self.prepared.get(&task.target).map(|prepared| &prepared.course);
        let Some(backend) = course.and_then(|course| course.pool.as_ref()) else { return Ok(()) };
        let until = Instant::now() + self.site.deadline;
        // A daemon that was named may keep no pool: it is taken as it is.
        while Daemon::warm(&self.site, backend)?.is_some_and(|warm| warm < u64::from(at_once)) {
            if Instant::now() > until {
                let doing = self.doing(task.target, task.benchmark.key());
                return Err(doing.late("fill its pool", &self.site));
            }
            let waited = self.interrupt.wait(None, LOOK);
            if waited.map_err(|why| host("wait for the pool", backend, why))? == First::Interrupted {
                return Err(Failure::Interrupted);
            }
        }
        Ok(())
    }

    fn take(&self, task: &Task) -> std::result::Result<Sample, Failure> {
        self.sample(task, self.ready(task.target)?)
    }

    fn crowd(&self, task: &Task, count: u32) -> std::result::Result<Option<Sample>, Failure> {
        self.crowded(task, count, self.ready(task.target)?)
    }

    fn finish(&mut self, target: usize, benchmark: Benchmark) -> std::result::Result<(), Failure> {
        self.take_all_down(target, benchmark.key())
    }

    fn end(&mut self) -> std::result::Result<(), Failure> {
        Ok(self.daemon.take().map_or(Ok(()), |daemon| daemon.end(&self.site))?)
    }
}

#[cfg(test)]
mod tests;
