//! The real subject: starts programs, judges what they did, and gives the time of those that were right.

mod bundles;
pub mod course;
mod daemon;
mod doctor;
mod floor;
mod ours;
pub mod phases;
mod rival;
mod running;
mod runtime;
mod site;
mod taking;
pub mod work;

use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentkernel_core::{Error, ErrorKind, Result};

use self::bundles::Staged;
use self::course::{Course, Doer, Missing, Setup};
use self::daemon::Daemon;
use self::doctor::Doctor;
pub use self::floor::HOST;
use self::running::{Doing, GRACE, end};
pub use self::site::Site;
use super::benchmark::Benchmark;
use super::interrupt::{First, Interrupt};
use super::subject::{NotReady, Sample, Subject, Task};
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::sandbox::client::Client;

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

/// What was made ready of a target for a benchmark.
#[derive(Debug)]
struct Prepared {
    course: Course,
    stayed: Mutex<Vec<Client>>,
    staged: Option<Staged>,
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
    daemon: Option<Daemon>,
    samples: AtomicU64,
}

/// Who is to be measured besides the bare host.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Backends of ours; all that doctor knows, if none is named.
    pub backends: Vec<String>,
    /// Whether each of them is measured out of a daemon's pool, too.
    pub warm: bool,
    /// Tools of others.
    pub rivals: Vec<String>,
}

impl Machine {
    /// For the bare host and for whoever is wanted.
    ///
    /// # Errors
    /// A name that nobody knows, or a doctor that cannot be asked.
    pub fn new(site: Site, wanted: &Wanted) -> Result<(Self, PipeWriter)> {
        // A wrong name costs no question to doctor, who looks at all there is.
        let rivals = wanted.rivals.iter().map(|name| rival(name)).collect::<Result<Vec<_>>>()?;
        let Doctor { backends: known, kvm } = Doctor::ask(&site)?;
        let all = || known.keys().cloned().collect::<Vec<_>>();
        let backends = if wanted.backends.is_empty() { all() } else { wanted.backends.clone() };
        let mut targets = vec![Target { name: HOST.into(), doer: Box::new(floor::Floor) }];
        for name in backends {
            let obstacle = known.get(&name).ok_or_else(|| unknown("backend", &name, &all().join(", ")))?;
            let warm: &[bool] = if wanted.warm { &[false, true] } else { &[false] };
            targets.extend(warm.iter().map(|is_warm| ours(&name, obstacle.clone(), *is_warm)));
        }
        targets.extend(rivals);
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
            Ok(course) => course.timed.iter().map(|step| step.words.join(" ")).collect(),
            Err(Missing::Absent(why)) => why,
            Err(Missing::Elsewhere) => String::new(),
        };
        self.targets.iter().map(|target| (target.name.clone(), words(target))).collect()
    }

    /// A name that no other sample has, on this host.
    fn own_name(&self) -> String {
        format!("bench-{}-{}", std::process::id(), self.samples.fetch_add(1, Ordering::Relaxed))
    }

    /// Carries out all that comes before the samples. What was begun is kept, to be taken down.
    fn set_up(
        &mut self,
        target: usize,
        benchmark: Benchmark,
        course: Course,
    ) -> std::result::Result<(), NotReady> {
        if course.by_daemon && self.daemon.is_none() {
            self.daemon = Some(Daemon::begin(&self.site).map_err(Failure::Error)?);
        }
        if !course.brings.is_empty() {
            let staged = work::stage_copied(&self.site);
            staged
                .map_err(|why| Failure::Error(host("stage what is copied", self.site.work.display(), why)))?;
        }
        let staged = course.bundles.as_ref().map(bundles::Bundles::stage).transpose();
        let staged = staged.map_err(|error| NotReady::Absent(error.why))?;
        let prepared = Prepared { course, stayed: Mutex::default(), staged };
        let (before, by_daemon) = (prepared.course.before.clone(), prepared.course.by_daemon);
        self.prepared.insert(target, prepared);
        let doing = Doing { target: &self.targets[target].name, what: benchmark.key() };
        for setup in &before {
            match setup {
                Setup::Run(step) => {
                    self.done(doing, step, by_daemon).map_err(|failure| full(step.part, failure))?;
                }
                Setup::Stay(words) => {
                    let client = self.stay(doing, words)?;
                    if let Some(prepared) = self.prepared.get(&target) {
                        locked(&prepared.stayed).push(client);
                    }
                }
            }
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A daemon that keeps no such pool has a reason, such as that there is no room.
fn full(part: &str, failure: Failure) -> NotReady {
    match failure {
        Failure::Refused(Refusal { cause: Cause::WrongExit { complaint, .. }, .. }) if part == "pool" => {
            NotReady::Absent(format!("the daemon keeps no such pool: {complaint}"))
        }
        failure => failure.into(),
    }
}

impl Subject for Machine {
    fn targets(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.name.clone()).collect()
    }

    /// Tries each once. Others' tools that fail cannot run here; whatever says the wrong thing is refused.
    fn prepare(&mut self, target: usize, benchmark: Benchmark) -> std::result::Result<(), NotReady> {
        let doer = &self.targets[target].doer;
        let is_others = doer.is_others();
        let course = doer.course(benchmark, &self.site).map_err(|missing| match missing {
            Missing::Absent(why) => NotReady::Absent(why),
            Missing::Elsewhere => NotReady::Elsewhere,
        })?;
        let task = Task { benchmark, target, round: None };
        let ready = self.set_up(target, benchmark, course).and_then(|()| Ok(self.take(&task).map(drop)?));
        match ready {
            Err(NotReady::Failure(Failure::Refused(Refusal {
                cause: cause @ Cause::WrongExit { .. },
                ..
            }))) if is_others => Err(NotReady::Absent(cause.to_string())),
            ready => ready,
        }
    }

    fn settle(&self, task: &Task, at_once: u32) -> std::result::Result<(), Failure> {
        let course = self.prepared.get(&task.target).map(|prepared| &prepared.course);
        let Some(backend) = course.and_then(|course| course.pool.as_ref()) else { return Ok(()) };
        let until = Instant::now() + self.site.deadline;
        // A daemon that was named may keep no pool: it is taken as it is.
        while Daemon::warm(&self.site, backend)?.is_some_and(|warm| warm < u64::from(at_once)) {
            if Instant::now() > until {
                let doing = Doing { target: &self.targets[task.target].name, what: task.benchmark.key() };
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
        let name = &self.targets[task.target].name;
        let prepared = self.prepared.get(&task.target).ok_or_else(|| {
            Failure::Error(Error::new(ErrorKind::Internal, "run the target", "it is not ready").on(name))
        })?;
        self.sample(task, name, prepared)
    }

    fn finish(&mut self, target: usize, benchmark: Benchmark) -> std::result::Result<(), Failure> {
        let Some(prepared) = self.prepared.remove(&target) else { return Ok(()) };
        let doing = Doing { target: &self.targets[target].name, what: benchmark.key() };
        for mut client in prepared.stayed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            client.close_input();
            if client.wait(GRACE).map_err(|why| doing.failed(why))?.is_none() {
                end(&mut client).map_err(|why| doing.failed(why))?;
            }
        }
        for step in &prepared.course.after {
            self.take_down(doing, step, prepared.course.by_daemon)?;
        }
        let left = prepared.staged.map_or(Ok(Vec::new()), |mut staged| staged.end());
        let left = left.map_err(|why| doing.failed(why))?;
        if left.is_empty() { Ok(()) } else { Err(doing.refused(Cause::LeftBehind { what: left.join(", ") })) }
    }

    fn end(&mut self) -> std::result::Result<(), Failure> {
        Ok(self.daemon.take().map_or(Ok(()), |daemon| daemon.end(&self.site))?)
    }
}

fn ours(backend: &str, obstacle: Option<String>, is_warm: bool) -> Target {
    let name = if is_warm { format!("{backend} pool") } else { backend.to_owned() };
    Target { name, doer: Box::new(ours::Ours { backend: backend.to_owned(), obstacle, is_warm }) }
}

fn rival(name: &str) -> Result<Target> {
    if name.starts_with("e2b:") {
        let why = "sandboxes behind an E2B address cannot be measured yet: they take E2B's own client";
        return Err(Error::new(ErrorKind::NotSupported, "measure the tool", why)
            .on(name)
            .hint(format!("there are {}", rival::NAMES.join(", "))));
    }
    let doer = rival::doer(name).ok_or_else(|| unknown("tool", name, &rival::NAMES.join(", ")))?;
    Ok(Target { name: format!("{name} itself"), doer })
}

fn unknown(what: &str, name: &str, all: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("find the {what}"), "nobody knows it")
        .on(name)
        .hint(format!("there are {all}"))
}

#[cfg(test)]
mod tests;
