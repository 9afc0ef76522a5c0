//! What survives the daemon: every sandbox that it made, in one SQLite file.
//!
//! One thread has the connection, and everybody else sends it work; so nothing blocks the async runtime, and writes
//! of one sandbox happen in the order in which its keeper asked for them. The journal is written ahead (WAL) and not
//! forced to the disk at each commit: it survives the death of the daemon, which is what it is for; when the host
//! goes down no sandbox lives any more.

mod schema;
mod thread;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentkernel_api::{ErrorKind, Sandbox, SandboxRequest};
use agentkernel_core::Result;
use tokio::sync::oneshot;

use crate::clock::StoredDeadline;
use crate::failure::{Failure, Outcome};
use thread::Worker;

/// Everything that is written down about one sandbox.
#[derive(Debug, Clone)]
pub struct Row {
    /// What is told of it.
    pub sandbox: Sandbox,
    /// What was asked for.
    pub request: SandboxRequest,
    /// When its time will be up.
    pub deadline: Option<StoredDeadline>,
}

/// Sends work to the thread. The thread ends with the last clone.
#[derive(Clone)]
pub struct Store {
    worker: Worker,
    healthy: Arc<AtomicBool>,
}

impl Store {
    /// Opens the file, makes it if there is none, and returns what was living when the daemon ended. Blocks.
    pub fn open(path: &Path, history_max: usize) -> Result<(Self, Vec<Row>)> {
        let mut connection = schema::open(path)?;
        let living =
            schema::living(&connection).map_err(|why| schema::failed("read the store", path, why))?;
        schema::prune(&mut connection, history_max)
            .map_err(|why| schema::failed("prune the store", path, why))?;
        let worker = Worker::start(connection, history_max)?;
        Ok((Self { worker, healthy: Arc::new(AtomicBool::new(true)) }, living))
    }

    /// Writes a sandbox down as it is now.
    pub async fn put(&self, row: Row) -> Outcome<()> {
        let put = self.ask(move |connection| schema::put(connection, &row)).await;
        self.healthy.store(put.is_ok(), Ordering::Relaxed);
        put
    }

    /// Forgets a sandbox.
    pub async fn remove(&self, id: String) -> Outcome<()> {
        self.ask(move |connection| schema::remove(connection, &id)).await
    }

    /// The sandbox of this owner with this id, else the last one that had this name.
    pub async fn find(&self, owner: &str, word: &str) -> Outcome<Option<Row>> {
        let (owner, word) = (owner.to_owned(), word.to_owned());
        self.ask(move |connection| schema::find(connection, &owner, &word)).await
    }

    /// Sandboxes of this owner that have ended, the newest last.
    pub async fn ended(&self, owner: &str) -> Outcome<Vec<Sandbox>> {
        let owner = owner.to_owned();
        self.ask(move |connection| schema::ended(connection, &owner)).await
    }

    /// Closes the file, so that its journal is in it: the last thing that a daemon does with it.
    pub async fn close(&self) -> Outcome<()> {
        match self.worker.close().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Failure::new(ErrorKind::StoreFailed, "close the store", why)),
            Err(()) => Err(Failure::new(ErrorKind::StoreFailed, "close the store", "its thread has ended")),
        }
    }

    /// Whether the last write worked.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut rusqlite::Connection| drop(reply.send(work(connection)));
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(ErrorKind::StoreFailed, "use the store", why)
                .hint("look whether the disk of AGENTKERNEL_HOME is full or read-only")
        };
        self.worker.send(Box::new(job)).await.map_err(|()| failed(&"its thread has ended"))?;
        let answer = answer.await.map_err(|_| failed(&"its thread has ended"))?;
        answer.map_err(|why| failed(&why))
    }
}
