//! One sample: its timed steps, what they gave, and what is taken down after them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use super::course::{Brought, Course, Figure, Step};
use super::phases::RESIDUAL;
use super::running::{Doing, verdict};
use super::{Machine, Prepared, phases};
use crate::refusal::{Cause, Failure};
use crate::sandbox::verdict::{Run, nanoseconds};
use crate::suite::subject::{Sample, Task};
use crate::{text, workload};

/// What the timed steps were.
#[derive(Default)]
pub struct Timed {
    /// When the first one began.
    pub began: Option<Instant>,
    /// From there to the end of the last one.
    pub total_ns: u64,
    /// The parts of that.
    pub parts: Parts,
    /// How the last one ended.
    pub exit_code: i32,
    /// All that they said.
    pub stdout: Vec<u8>,
    /// What the last one complained of.
    pub stderr: Vec<u8>,
}

impl Machine {
    /// Takes one, and leaves nothing of it but what all samples share.
    pub(super) fn sample(&self, task: &Task, prepared: &Prepared) -> Result<Sample, Failure> {
        let doing = self.doing(task.target, task.benchmark.key());
        let course = &prepared.course;
        let own = self.own_name();
        let bundle = prepared.staged.as_ref().filter(|staged| staged.is_per_sample());
        bundle.map_or(Ok(()), |staged| staged.make(&own)).map_err(|why| doing.failed(why))?;
        course.brings.iter().try_for_each(remove).map_err(|why| doing.failed(why))?;
        let timed = match &course.talk {
            Some(talk) => self.talked(doing, talk, prepared),
            None => self.timed(doing, course, &own),
        };
        let taken = timed.and_then(|timed| self.judged(doing, task, prepared, timed));
        let steps = if taken.is_ok() { &course.between } else { &course.rescue };
        for step in steps {
            self.take_down(doing, &step.named(&own), course.by_daemon)?;
        }
        let left =
            bundle.map_or(Ok(Vec::new()), |staged| staged.remove(&own)).map_err(|why| doing.failed(why))?;
        let taken = taken?;
        doing.left_nothing(&left)?;
        Ok(taken)
    }

    fn timed(&self, doing: Doing<'_>, course: &Course, own: &str) -> Result<Timed, Failure> {
        let mut timed = Timed::default();
        for step in &course.timed {
            let step = step.named(own);
            let (run, started) = self.run(doing, &step, course.by_daemon)?;
            let began = *timed.began.get_or_insert(started);
            timed.total_ns = nanoseconds(started.duration_since(began) + run.ended.wall);
            if course.timed.len() > 1 {
                timed.parts.insert(step.part.to_owned(), Some(nanoseconds(run.ended.wall)));
            }
            keep(doing, course, &step, run, &mut timed)?;
        }
        Ok(timed)
    }

    fn judged(
        &self,
        doing: Doing<'_>,
        task: &Task,
        prepared: &Prepared,
        timed: Timed,
    ) -> Result<Sample, Failure> {
        let refused = |cause| doing.refused(cause);
        let course = &prepared.course;
        course.brings.iter().try_for_each(like).map_err(refused)?;
        let (total_ns, parts) = match course.figure {
            Figure::Inside => inside(&timed).map_err(refused)?,
            Figure::Phases => (timed.total_ns, timed.parts),
            _ => (timed.total_ns, with_rest(timed.parts, timed.total_ns).map_err(refused)?),
        };
        let began = timed.began.unwrap_or(self.origin);
        let bytes = self.memory(doing, prepared, &timed.stdout)?;
        Ok(Sample {
            round: task.round,
            began_ns: nanoseconds(began.duration_since(self.origin)),
            total_ns,
            parts,
            bytes,
            exit_code: timed.exit_code,
            stdout_sha256: text::sha256(&timed.stdout),
        })
    }
}

/// Judges a step, and keeps what it said.
fn keep(
    doing: Doing<'_>,
    course: &Course,
    step: &Step,
    mut run: Run,
    timed: &mut Timed,
) -> Result<(), Failure> {
    let tells = course.figure == Figure::Phases && run.ended.status.success();
    let told = tells.then(|| phases::told(&run.stdout)).transpose();
    let told = told.map_err(|why| doing.refused(Cause::Incredible { why }))?;
    if let Some((stdout, _)) = &told {
        run.stdout.clone_from(stdout);
    }
    verdict(&step.says, &run).map_err(|cause| doing.refused(cause))?;
    if let Some((_, phases)) = told {
        let parts = phases::parts(phases, nanoseconds(run.ended.wall));
        timed.parts = parts.map_err(|cause| doing.refused(cause))?;
    }
    timed.exit_code = run.ended.status.code().unwrap_or(-1);
    timed.stdout.extend(run.stdout);
    timed.stderr = run.stderr;
    Ok(())
}

/// Times by name, nanoseconds; `None` is not seen.
pub type Parts = BTreeMap<String, Option<u64>>;

/// With what is in none of them, parts are the whole; where there are none, there is no rest.
fn with_rest(mut parts: Parts, total_ns: u64) -> Result<Parts, Cause> {
    let sum: u64 = parts.values().copied().flatten().sum();
    let rest = total_ns.checked_sub(sum);
    let rest =
        rest.ok_or_else(|| Cause::Incredible { why: format!("parts of {sum} ns in {total_ns} ns") })?;
    if !parts.is_empty() {
        parts.insert(RESIDUAL.into(), Some(rest));
    }
    Ok(parts)
}

/// What the work says of its own time, within that of its launch.
fn inside(timed: &Timed) -> Result<(u64, Parts), Cause> {
    let stderr = String::from_utf8_lossy(&timed.stderr);
    let incredible = |why: String| Cause::Incredible { why };
    let inside = workload::inside_ns(&stderr);
    let inside = inside.ok_or_else(|| incredible("the work does not say how long it took".into()))?;
    if inside == 0 || inside > timed.total_ns {
        return Err(incredible(format!("{inside} ns inside of a launch that took {} ns", timed.total_ns)));
    }
    let parts = workload::parts_ns(&stderr).into_iter().map(|(name, ns)| (name, Some(ns))).collect();
    Ok((inside, with_rest(parts, inside)?))
}

fn remove(brought: &Brought) -> std::io::Result<()> {
    let removed = if brought.to.is_dir() {
        std::fs::remove_dir_all(&brought.to)
    } else {
        std::fs::remove_file(&brought.to)
    };
    match removed {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether what came back is what was sent, byte for byte.
fn like(brought: &Brought) -> Result<(), Cause> {
    let failed =
        |path: &Path, why: std::io::Error| Cause::Incredible { why: format!("{}: {why}", path.display()) };
    let content = |path: &Path| content(path).map_err(|why| failed(path, why));
    let (expected, actual) = (content(&brought.like)?, content(&brought.to)?);
    if expected == actual {
        return Ok(());
    }
    let said = format!("{} is not as it was sent", brought.to.display());
    let digest = |content: &Content| text::sha256(&content.values().flatten().copied().collect::<Vec<u8>>());
    Err(Cause::WrongOutput { expected_sha256: digest(&expected), actual_sha256: digest(&actual), said })
}

/// Files by name; of a file, itself without one. Owners and permissions are not everybody's to keep.
type Content = BTreeMap<OsString, Vec<u8>>;

fn content(path: &Path) -> std::io::Result<Content> {
    if !path.is_dir() {
        return Ok(Content::from([(OsString::new(), std::fs::read(path)?)]));
    }
    let entries = std::fs::read_dir(path)?;
    entries
        .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), std::fs::read(entry.path())?))))
        .collect()
}
