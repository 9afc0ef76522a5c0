//! The thread that has the connection.

use std::thread;

use agentkernel_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::schema;

/// Something to do with the connection.
pub type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// So many jobs may wait; whoever has another one waits himself.
const JOBS_MAX: usize = 256;

/// Old sandboxes are forgotten after so many jobs.
const PRUNE_EVERY: u32 = 256;

/// Sends jobs to the thread.
#[derive(Clone)]
pub struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    pub fn start(connection: Connection, history_max: usize) -> Result<Self> {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let thread = thread::Builder::new().name("store".into());
        let started = thread.spawn(move || work(connection, waiting, history_max));
        started.map_err(|why| Error::new(ErrorKind::Host, "start the store's thread", why))?;
        Ok(Self { jobs })
    }

    pub async fn send(&self, job: Job) -> Result<(), ()> {
        self.jobs.send(job).await.map_err(|_| ())
    }
}

fn work(mut connection: Connection, mut jobs: mpsc::Receiver<Job>, history_max: usize) {
    let mut done = 0_u32;
    while let Some(job) = jobs.blocking_recv() {
        job(&mut connection);
        done = done.wrapping_add(1);
        if done.is_multiple_of(PRUNE_EVERY)
            && let Err(error) = schema::prune(&mut connection, history_max)
        {
            tracing::warn!(%error, "the store's history could not be pruned");
        }
    }
}
