//! The handle of a connected guest.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{Command, Error, ErrorKind, Process, Result};
use agentkernel_protocol::{HEADER_LEN, Refused, Signal, Start, ToGuest};
use tokio::time::timeout;

use crate::closed::{CloseReason, Closed};
use crate::exec::{self, ExecDefaults, START_COMMAND};
use crate::files::LinkedFiles;
use crate::outbox::FRAME_LEN_MAX;
use crate::process::{KILL, LinkedProcess};
use crate::table::{Table, wait_closed};

/// How long the guest may take for an answer that it gives at once if it is well: to a ping, and
/// whether a program could be started.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How long a guest that was asked to end may take.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// A connected guest. Clones are the same link; with the last of them, and of the processes and files
/// that came from it, the stream is closed, and the guest ends everything that it runs. A guest with a
/// door only ends its files then, and waits for another host.
#[derive(Clone)]
pub struct Link {
    handle: Arc<Handle>,
}

struct Handle {
    table: Arc<Table>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.table.close(Closed::new(CloseReason::Released, "the link was dropped"));
    }
}

impl Link {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self { handle: Arc::new(Handle { table }) }
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.handle.table
    }

    /// Starts a command. Returns when the program has been executed, or says why it was not.
    pub async fn exec(&self, command: &Command, defaults: &ExecDefaults) -> Result<Box<dyn Process>> {
        if command.argv.is_empty() {
            return Err(Error::new(ErrorKind::Usage, START_COMMAND, "it has no words"));
        }
        match self.start(exec::start(command, defaults), START_COMMAND, KILL).await? {
            Ok(process) => Ok(Box::new(process)),
            Err(refused) => Err(exec::refusal(&refused, command, defaults)),
        }
    }

    /// File operations, done as whoever the guest agent runs as.
    #[must_use]
    pub fn files(&self) -> LinkedFiles {
        LinkedFiles::new(self.clone(), None)
    }

    /// One round trip to the guest agent.
    pub async fn ping(&self) -> Result<Duration> {
        const WHAT: &str = "ping the guest agent";
        let begin = Instant::now();
        let answer = async {
            let room = self.table().outbox.reserve(HEADER_LEN + 10).await;
            let room = room.ok_or_else(|| self.gone(WHAT))?;
            self.table().ping(room, WHAT)?.await.map_err(|_| self.gone(WHAT))
        };
        self.answered(answer, WHAT).await?;
        Ok(begin.elapsed())
    }

    /// Waits until the link is closed, and says why.
    pub async fn closed(&self) -> Closed {
        Closed::clone(&*wait_closed(self.table().watch()).await)
    }

    /// Why the link is closed, if it is.
    #[must_use]
    pub fn closed_now(&self) -> Option<Closed> {
        self.table().closed_now().map(|closed| Closed::clone(&closed))
    }

    /// Asks the guest to kill everything and to end; returns when the stream has ended, at the latest
    /// after two seconds, when it is closed from here.
    pub async fn shutdown(&self) -> Closed {
        let ended = timeout(SHUTDOWN_WAIT, async {
            if let Some(room) = self.table().outbox.reserve(HEADER_LEN).await {
                room.push(0, &ToGuest::Shutdown).ok(); // an empty frame is never too long
            }
            self.closed().await
        });
        if let Ok(closed) = ended.await {
            return closed;
        }
        self.close("the guest agent did not end when it was asked to");
        self.closed().await
    }

    /// Closes the link from this side; everything that waits fails with this reason.
    pub fn close(&self, why: &str) {
        self.table().close(Closed::new(CloseReason::Released, why));
    }

    /// Opens a channel, and waits until its process runs or was refused. Dropping the process sends it
    /// `on_drop`; so does giving up this wait, as soon as it runs.
    pub(crate) async fn start(
        &self,
        start: Start,
        what: &'static str,
        on_drop: Signal,
    ) -> Result<Result<LinkedProcess, Refused>> {
        let started = async {
            let room = self.table().outbox.reserve(FRAME_LEN_MAX).await;
            let room = room.ok_or_else(|| self.gone(what))?;
            let channel = self.table().open(room, start, what)?;
            let mut process = LinkedProcess::new(self.clone(), channel, on_drop);
            let started = poll_fn(|context| process.poll_started(context)).await;
            Ok(started.map_err(|closed| closed.error(what))?.map(|()| process))
        };
        self.answered(started, what).await
    }

    /// Puts an end to waiting for an answer.
    async fn answered<T>(&self, answer: impl Future<Output = Result<T>>, what: &str) -> Result<T> {
        timeout(ANSWER_WAIT, answer).await.unwrap_or_else(|_| {
            let why = format!("the guest agent did not answer within {} s", ANSWER_WAIT.as_secs());
            Err(Error::new(ErrorKind::Timeout, what, why))
        })
    }

    /// The error of an operation that found the link closed.
    pub(crate) fn gone(&self, what: &str) -> Error {
        match self.table().closed_now() {
            Some(closed) => closed.error(what),
            None => Closed::ended("the link is being closed").error(what),
        }
    }
}
