//! The real subject: starts programs, judges what they did, and gives the time of those that were right.

pub mod phases;
mod rival;

use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentkernel_core::{Availability, Error, ErrorKind, Result};
use agentkernel_process::{Program, locate};
use serde_json::Value;

use self::phases::{parts, told, with_phases};
use super::benchmark::Benchmark;
use super::interrupt::{First, Interrupt};
use super::subject::{NotReady, Sample, Subject, Task};
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::sandbox::client::{Client, Ended};
use crate::sandbox::verdict::{Run, judge, nanoseconds};
use crate::text;
use crate::workload::Work;

/// How long a program that is to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long doctor may take.
const DOCTOR: Duration = Duration::from_secs(60);
/// The name of the bare host among the targets.
pub const HOST: &str = "host";

/// What is measured, and how it is started.
#[derive(Debug, Clone)]
pub struct Site {
    /// Our program.
    pub program: PathBuf,
    /// Where others' programs are looked for.
    pub folders: Vec<PathBuf>,
    /// All of each program's environment.
    pub variables: Vec<(String, String)>,
    /// The most that a sample may take.
    pub deadline: Duration,
    /// Said by each command, and known to nobody before.
    pub token: String,
    /// The image that container engines are told to use.
    pub image: String,
}

/// A target by name, and the words that start its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The program and its words, or why there are none.
    pub words: std::result::Result<Vec<String>, String>,
    /// Whether it is ours, and tells phases.
    pub is_ours: bool,
}

impl Site {
    /// Starts a program by its words; its input has ended.
    fn start(&self, words: &[String]) -> std::io::Result<Client> {
        let (first, rest) = words.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let program =
            rest.iter().map(String::as_str).fold(Program::new(Path::new(first))?, Program::argument);
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut client = Client::start_with(&program, &variables)?;
        client.close_input();
        Ok(client)
    }
}

impl Target {
    fn refused(&self, doing: &str, cause: Cause) -> Failure {
        Failure::Refused(Refusal { target: self.name.clone(), while_measuring: doing.to_owned(), cause })
    }
}

/// Starts programs.
#[derive(Debug)]
pub struct Machine {
    site: Site,
    targets: Vec<Target>,
    origin: Instant,
    interrupt: Interrupt,
}

impl Machine {
    /// For the bare host, these backends of ours (all that doctor knows, if none is named) and these tools of others.
    ///
    /// # Errors
    /// A name that nobody knows, or a doctor that cannot be asked.
    pub fn new(site: Site, backends: &[String], rivals: &[String]) -> Result<(Self, PipeWriter)> {
        let known = doctor(&site)?;
        let backends = if backends.is_empty() { known.keys().cloned().collect() } else { backends.to_vec() };
        let mut targets = vec![floor(&site)];
        for name in backends {
            let Some(obstacle) = known.get(&name) else {
                let all = known.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(unknown("backend", &name, &all));
            };
            targets.push(ours(&site, &name, obstacle.clone()));
        }
        for name in rivals {
            let words =
                rival::words(&site, name).ok_or_else(|| unknown("tool", name, &rival::NAMES.join(", ")))?;
            targets.push(Target { name: format!("{name} itself"), words, is_ours: false });
        }
        let (interrupt, trigger) =
            Interrupt::new().map_err(|why| host("make ready for an interruption", "a pipe", why))?;
        Ok((Self::of(site, targets, interrupt), trigger))
    }

    /// For exactly these targets.
    #[must_use]
    pub fn of(site: Site, targets: Vec<Target>, interrupt: Interrupt) -> Self {
        Self { site, targets, origin: Instant::now(), interrupt }
    }

    /// The targets.
    #[must_use]
    pub fn described(&self) -> BTreeMap<String, String> {
        let words = |target: &Target| match &target.words {
            Ok(words) => words.join(" "),
            Err(why) => why.clone(),
        };
        self.targets.iter().map(|target| (target.name.clone(), words(target))).collect()
    }

    /// Runs the target's command to its end and judges it.
    fn run(&self, target: &Target, words: &[String]) -> std::result::Result<(Run, Instant), Failure> {
        let failed = |why: std::io::Error| Failure::Error(host("run the target", &target.name, why));
        let mut client = self.site.start(words).map_err(failed)?;
        let started = client.started();
        let first = self.interrupt.wait(Some(client.process()), self.site.deadline).map_err(failed)?;
        let wall = started.elapsed();
        if first != First::Ended {
            end(&mut client).map_err(failed)?;
        }
        match first {
            First::Interrupted => Err(Failure::Interrupted),
            First::Deadline => {
                let deadline_ms = u64::try_from(self.site.deadline.as_millis()).unwrap_or(u64::MAX);
                let cause = Cause::TimedOut { awaited: "end".into(), deadline_ms };
                Err(target.refused("run", cause))
            }
            First::Ended => {
                let ended = client.wait(GRACE).map_err(failed)?;
                let status = ended.ok_or_else(|| failed(std::io::ErrorKind::TimedOut.into()))?.status;
                let (stdout, stderr) = client.output();
                Ok((Run { ended: Ended { status, wall }, stdout, stderr }, started))
            }
        }
    }

    fn sample(&self, task: &Task, target: &Target) -> std::result::Result<Sample, Failure> {
        let refused = |cause| target.refused(task.benchmark.key(), cause);
        let words = target.words.as_ref().map_err(|why| {
            Failure::Error(Error::new(ErrorKind::Unavailable, "run the target", why).on(&target.name))
        })?;
        let tells = task.benchmark == Benchmark::Phases && target.is_ours;
        let words = if tells { with_phases(words) } else { words.clone() };
        let (mut run, started) = self.run(target, &words)?;
        let said = if tells { Some(told(&run.stdout)) } else { None };
        if let Some(Ok((stdout, _))) = &said {
            run.stdout.clone_from(stdout);
        }
        judge(&self.work(), &run).map_err(refused)?;
        let total_ns = nanoseconds(run.ended.wall);
        let phases = said.transpose().map_err(|why| refused(Cause::Incredible { why }))?;
        let parts = phases.map(|(_, phases)| parts(phases, total_ns)).transpose().map_err(refused)?;
        Ok(Sample {
            round: task.round,
            began_ns: nanoseconds(started.duration_since(self.origin)),
            total_ns,
            parts: parts.unwrap_or_default(),
            exit_code: run.ended.status.code().unwrap_or(-1),
            stdout_sha256: text::sha256(&run.stdout),
        })
    }

    fn work(&self) -> Work {
        let says = Some(format!("{}\n", self.site.token));
        Work { words: Vec::new(), says, waits: false, is_timed: false }
    }
}

impl Subject for Machine {
    fn targets(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.name.clone()).collect()
    }

    /// Tries each once. Others' tools that fail cannot run here; whatever says the wrong thing is refused.
    fn prepare(&mut self, target: usize, benchmark: Benchmark) -> std::result::Result<(), NotReady> {
        let target = &self.targets[target];
        if let Err(why) = &target.words {
            return Err(NotReady::Absent(why.clone()));
        }
        if benchmark == Benchmark::Phases && !target.is_ours {
            return Err(NotReady::Absent("it tells no phases".into()));
        }
        match self.sample(&Task { benchmark, target: 0, round: None }, target) {
            Ok(_) => Ok(()),
            Err(Failure::Refused(Refusal { cause: cause @ Cause::WrongExit { .. }, .. }))
                if target.name.ends_with(" itself") =>
            {
                Err(NotReady::Absent(cause.to_string()))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn take(&self, task: &Task) -> std::result::Result<Sample, Failure> {
        self.sample(task, &self.targets[task.target])
    }

    fn finish(&mut self, _target: usize, _benchmark: Benchmark) -> std::result::Result<(), Failure> {
        Ok(())
    }
}

/// Asks it to end, so that it can clean up; what does not is killed.
fn end(client: &mut Client) -> std::io::Result<()> {
    client.terminate()?;
    if client.wait(GRACE)?.is_none() {
        client.kill()?;
    }
    Ok(())
}

/// Of the backends that doctor knows, what is in the way of each.
fn doctor(site: &Site) -> Result<BTreeMap<String, Option<String>>> {
    let failed = |why: String| host("ask doctor", site.program.display(), why);
    // Exit code 1 says that nothing works here: its words say why.
    let words = [site.program.display().to_string(), "doctor".into(), "--format".into(), "json".into()];
    let mut client = site.start(&words).map_err(|why| failed(why.to_string()))?;
    let ended = client.wait(DOCTOR).map_err(|why| failed(why.to_string()))?;
    ended.ok_or_else(|| failed("it does not end".into()))?;
    let json: Value = serde_json::from_slice(&client.output().0).map_err(|why| failed(why.to_string()))?;
    let backends = json["backends"].as_array().into_iter().flatten();
    Ok(backends
        .filter_map(|backend| Some((backend["backend"].as_str()?.to_owned(), obstacle(backend))))
        .collect())
}

fn obstacle(backend: &Value) -> Option<String> {
    match serde_json::from_value(backend.clone()) {
        Ok(Availability::Available { .. } | Availability::Limited { .. }) => None,
        Ok(Availability::Unavailable { needs, .. }) => Some(format!("it needs {needs}")),
        Err(why) => Some(format!("doctor does not say: {why}")),
    }
}

/// The host's own fork and exec of the same command.
fn floor(site: &Site) -> Target {
    let echo = locate("echo", &site.folders);
    let words = echo.ok_or_else(|| "there is no echo".to_owned());
    let words = words.map(|echo| vec![echo.display().to_string(), site.token.clone()]);
    Target { name: HOST.into(), words, is_ours: false }
}

fn ours(site: &Site, backend: &str, obstacle: Option<String>) -> Target {
    let takes_programs = if backend == "wasm" { Some("it runs Wasm modules, not echo".into()) } else { None };
    let program = site.program.display().to_string();
    let words = [&program, "run", "--no-daemon", "--backend", backend, "--", "echo", &site.token];
    let words = words.map(str::to_owned).to_vec();
    let words = obstacle.or(takes_programs).map_or(Ok(words), Err);
    Target { name: backend.to_owned(), words, is_ours: true }
}

fn unknown(what: &str, name: &str, all: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("find the {what}"), "nobody knows it")
        .on(name)
        .hint(format!("there are {all}"))
}

#[cfg(test)]
mod tests;
