//! The thread that has the connection.

use std::thread;

use agentkernel_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::schema;

/// Something to do with the connection.
pub type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// So many jobs may wait; whoever has another one waits himself.
const JOBS_MAX: usize = 256;

/// Old sandboxes are forgotten after so many jobs.
const PRUNE_EVERY: u32 = 256;

/// What the thread is told.
enum Word {
    Do(Job),
    /// Close the connection, say what came of it, and end.
    Close(oneshot::Sender<rusqlite::Result<()>>),
}

/// Sends jobs to the thread.
#[derive(Clone)]
pub struct Worker {
    words: mpsc::Sender<Word>,
}

impl Worker {
    pub fn start(connection: Connection, history_max: usize) -> Result<Self> {
        let (words, heard) = mpsc::channel(JOBS_MAX);
        let thread = thread::Builder::new().name("store".into());
        let started = thread.spawn(move || work(connection, heard, history_max));
        started.map_err(|why| Error::new(ErrorKind::Host, "start the store's thread", why))?;
        Ok(Self { words })
    }

    pub async fn send(&self, job: Job) -> Result<(), ()> {
        self.words.send(Word::Do(job)).await.map_err(|_| ())
    }

    /// Closes the connection, by which its journal is written back and removed. Later jobs find no thread.
    pub async fn close(&self) -> Result<rusqlite::Result<()>, ()> {
        let (reply, answer) = oneshot::channel();
        self.words.send(Word::Close(reply)).await.map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }
}

fn work(mut connection: Connection, mut words: mpsc::Receiver<Word>, history_max: usize) {
    let mut done = 0_u32;
    while let Some(word) = words.blocking_recv() {
        match word {
            Word::Do(job) => job(&mut connection),
            Word::Close(reply) => {
                let closed = connection.close().map_err(|(_, why)| why);
                return drop(reply.send(closed));
            }
        }
        done = done.wrapping_add(1);
        if done.is_multiple_of(PRUNE_EVERY)
            && let Err(error) = schema::prune(&mut connection, history_max)
        {
            tracing::warn!(%error, "the store's history could not be pruned");
        }
    }
}
