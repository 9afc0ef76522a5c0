//! The helper program of one sandbox, from our side.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use agentkernel_process::{Attended, OwnId, Program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::wire::{self, News, Order};

/// The process, and our way to it. Dropping it ends the process.
pub(crate) struct Helper {
    program: Mutex<Attended>,
    pid: u32,
    orders: tokio::sync::Mutex<Sender>,
}

/// What it says.
pub(crate) struct Hearing(Receiver);

/// A helper whose machine is there.
pub(crate) struct Made {
    pub(crate) helper: Helper,
    pub(crate) hearing: Hearing,
    pub(crate) has_mib: usize,
    /// Whom it has become, if it is not who we are.
    pub(crate) user: Option<OwnId>,
}

impl Helper {
    /// Starts it.
    pub(crate) fn start(path: &Path) -> io::Result<(Self, Hearing)> {
        let mut program = Program::new(path)?.spawn_attended(&[])?;
        let missing = || io::Error::other("it has no streams");
        let orders: OwnedFd = program.stdin.take().ok_or_else(missing)?.into();
        let news: OwnedFd = program.stdout.take().ok_or_else(missing)?.into();
        drop(program.stderr.take()); // it says all on its stdout
        let pid = program.pid();
        let orders = tokio::sync::Mutex::new(Sender::from_owned_fd(orders)?);
        Ok((Self { program: Mutex::new(program), pid, orders }, Hearing(Receiver::from_owned_fd(news)?)))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) async fn order(&self, order: &Order) -> io::Result<()> {
        let frame = wire::frame(order)?;
        self.orders.lock().await.write_all(&frame).await
    }

    /// Ends it now, with its machine.
    pub(crate) fn kill(&self) {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only if it has ended already and was waited for.
        drop(program.kill());
        drop(program.wait());
    }

    /// Its resident memory, bytes.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }
}

impl Hearing {
    /// The next news; an error if there will be none. Must be awaited to its end.
    pub(crate) async fn next(&mut self) -> io::Result<News> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head).await?;
        let mut body = vec![0; wire::body_length(head)?];
        self.0.read_exact(&mut body).await?;
        wire::value(&body)
    }
}
