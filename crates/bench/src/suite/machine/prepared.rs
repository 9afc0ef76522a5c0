//! What is made ready of a target before its samples, and taken down after them.

use std::sync::{Mutex, PoisonError};

use super::bundles::{Bundles, Staged};
use super::course::{Course, Setup};
use super::daemon::Daemon;
use super::running::{GRACE, end};
use super::{Machine, work};
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::sandbox::client::Client;
use crate::suite::subject::NotReady;

/// What was made ready of a target.
#[derive(Debug)]
pub struct Prepared {
    /// How it is measured.
    pub course: Course,
    /// Programs that stay.
    pub stayed: Mutex<Vec<Client>>,
    /// Programs that wait for an order.
    pub talkers: Mutex<Vec<Client>>,
    /// Bundles, where it needs them.
    pub staged: Option<Staged>,
}

/// What a mutex holds, also where a thread has failed with it in its hands.
pub fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Carries out all that comes before the samples. What was begun is kept, to be taken down.
    pub(super) fn set_up(
        &mut self,
        target: usize,
        what: &'static str,
        course: Course,
    ) -> Result<(), NotReady> {
        if course.by_daemon && self.daemon.is_none() {
            self.daemon = Some(Daemon::begin(&self.site).map_err(Failure::Error)?);
        }
        if !course.brings.is_empty() {
            let staged = work::stage_copied(&self.site);
            staged
                .map_err(|why| Failure::Error(host("stage what is copied", self.site.work.display(), why)))?;
        }
        let staged = course.bundles.as_ref().map(Bundles::stage).transpose();
        let staged = staged.map_err(|error| NotReady::Absent(error.why))?;
        let prepared = Prepared { course, stayed: Mutex::default(), talkers: Mutex::default(), staged };
        let (before, talk) = (prepared.course.before.clone(), prepared.course.talk.clone());
        let by_daemon = prepared.course.by_daemon;
        self.prepared.insert(target, prepared);
        let doing = self.doing(target, what);
        for setup in &before {
            match setup {
                Setup::Run(step) => {
                    self.done(doing, step, by_daemon).map_err(|failure| full(step.part, failure))?;
                }
                Setup::Stay(words) => {
                    let client = self.stay(doing, words, by_daemon)?;
                    locked(&self.ready(target)?.stayed).push(client);
                }
            }
        }
        talk.map_or(Ok(()), |talk| Ok(self.begin_to_talk(doing, &talk, self.ready(target)?)?))
    }

    /// Takes all of it down, also after a failure.
    pub(super) fn take_all_down(&mut self, target: usize, what: &'static str) -> Result<(), Failure> {
        let Some(prepared) = self.prepared.remove(&target) else { return Ok(()) };
        let doing = self.doing(target, what);
        let Prepared { course, stayed, talkers, staged } = prepared;
        let mutexes =
            [stayed, talkers].map(|clients| clients.into_inner().unwrap_or_else(PoisonError::into_inner));
        for client in mutexes.into_iter().flatten() {
            leave(client).map_err(|why| doing.failed(why))?;
        }
        for step in &course.after {
            self.take_down(doing, step, course.by_daemon)?;
        }
        let left = staged.map_or(Ok(Vec::new()), |mut staged| staged.end());
        let left = left.map_err(|why| doing.failed(why))?;
        doing.left_nothing(&left)
    }
}

/// Ends a program that stays: it ends with its input, or is told to.
pub fn leave(mut client: Client) -> std::io::Result<()> {
    client.close_input();
    if client.wait(GRACE)?.is_none() { end(&mut client) } else { Ok(()) }
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
