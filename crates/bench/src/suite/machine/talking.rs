//! Programs that do by orders what is measured: for each client that there is at once, one that is ready before.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Machine;
use super::course::{Says, Talk};
use super::prepared::{Prepared, locked};
use super::running::{Doing, end, verdict};
use super::taking::Timed;
use crate::refusal::{Cause, Failure};
use crate::sandbox::client::{Client, Ended};
use crate::sandbox::verdict::{Run, nanoseconds};
use crate::suite::interrupt::First;
use crate::text;

/// What it says once it waits for orders.
const READY: &str = "ready";
/// How long between two looks at whether the run is to end. What it says is heard at once.
const LISTEN: Duration = Duration::from_millis(100);

impl Machine {
    /// Starts as many as are taken at once, and hears each say that it is ready: what that takes is no sample's.
    pub(super) fn begin_to_talk(
        &self,
        doing: Doing<'_>,
        talk: &Talk,
        prepared: &Prepared,
    ) -> Result<(), Failure> {
        let mut begun = Vec::new();
        let started = (0..talk.count).try_for_each(|_| {
            let client = self.site.start_talking(&talk.words, &talk.variables);
            begun.push(client.map_err(|why| doing.failed(why))?);
            Ok(())
        });
        let ready =
            started.and_then(|()| begun.iter_mut().try_for_each(|client| self.is_ready(doing, talk, client)));
        // Also where one is not ready: they have something to take down.
        locked(&prepared.talkers).extend(begun);
        ready
    }

    fn is_ready(&self, doing: Doing<'_>, talk: &Talk, client: &mut Client) -> Result<(), Failure> {
        let line = self.hear(doing, client, "say that it is ready")?;
        if line != READY {
            let why = format!("its first word is {line:?}, not {READY:?}");
            return Err(doing.refused(Cause::Incredible { why }));
        }
        talk.first.as_ref().map_or(Ok(()), |order| self.answer(doing, client, order).map(drop))
    }

    /// One sample by orders.
    pub(super) fn talked(
        &self,
        doing: Doing<'_>,
        talk: &Talk,
        prepared: &Prepared,
    ) -> Result<Timed, Failure> {
        let client = locked(&prepared.talkers).pop();
        let mut client = client.ok_or_else(|| doing.failed(std::io::ErrorKind::NotFound.into()))?;
        let began = Instant::now();
        let answer = self.answer(doing, &mut client, &talk.each);
        let wall = began.elapsed();
        match answer {
            // It may still do what it was told, and so it is of no use any more.
            Err(failure) => {
                end(&mut client).map_err(|why| doing.failed(why))?;
                Err(failure)
            }
            Ok(answer) => {
                locked(&prepared.talkers).push(client);
                done(doing, talk, &answer, began, wall)
            }
        }
    }

    fn answer(&self, doing: Doing<'_>, client: &mut Client, order: &str) -> Result<Value, Failure> {
        client.tell(order).map_err(|why| doing.failed(why))?;
        let line = self.hear(doing, client, "answer")?;
        let answer: Value = serde_json::from_str(&line).map_err(|why| {
            doing.refused(Cause::Incredible { why: format!("its answer is no JSON: {why}") })
        })?;
        match answer["error"].as_str() {
            Some(why) => Err(doing.refused(Cause::Declined { why: text::beginning(why.as_bytes()) })),
            None => Ok(answer),
        }
    }

    /// The next line that it says.
    fn hear(&self, doing: Doing<'_>, client: &mut Client, awaited: &str) -> Result<String, Failure> {
        let failed = |why| doing.failed(why);
        let until = Instant::now() + self.site.deadline;
        loop {
            if let Some(line) = client.next_line(LISTEN) {
                return Ok(line);
            }
            if self.interrupt.wait(None, Duration::ZERO).map_err(failed)? == First::Interrupted {
                return Err(Failure::Interrupted);
            }
            if let Some(Ended { status, .. }) = client.wait(Duration::ZERO).map_err(failed)? {
                let complaint = text::beginning(client.complaint());
                let ended = crate::sandbox::verdict::in_words(status);
                return Err(doing.refused(Cause::WrongExit { ended, complaint }));
            }
            if Instant::now() > until {
                return Err(doing.late(awaited, &self.site));
            }
        }
    }
}

/// What was answered, judged like the end of a program.
fn done(
    doing: Doing<'_>,
    talk: &Talk,
    answer: &Value,
    began: Instant,
    wall: Duration,
) -> Result<Timed, Failure> {
    let code = answer["exit_code"].as_i64().and_then(|code| u8::try_from(code).ok());
    let code = code.ok_or_else(|| {
        doing.refused(Cause::Incredible { why: format!("its exit code is {}", answer["exit_code"]) })
    })?;
    let bytes = |name: &str| answer[name].as_str().unwrap_or_default().as_bytes().to_vec();
    let status = ExitStatus::from_raw(i32::from(code) << 8);
    let run = Run { ended: Ended { status, wall }, stdout: bytes("stdout"), stderr: bytes("stderr") };
    verdict(&Says::Line(talk.says.clone()), &run).map_err(|cause| doing.refused(cause))?;
    let part =
        |(its, ours): &(&str, &str)| Some(((*ours).to_owned(), Some(answer["parts_ns"][its].as_u64()?)));
    Ok(Timed {
        began: Some(began),
        total_ns: nanoseconds(wall),
        parts: talk.parts.iter().filter_map(part).collect(),
        exit_code: i32::from(code),
        stdout: run.stdout,
        stderr: run.stderr,
    })
}
