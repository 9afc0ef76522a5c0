//! Starts processes.

mod child;
mod plan;

use std::cell::OnceCell;
use std::os::fd::OwnedFd;

use agentkernel_protocol::{Refused, Stage, Start, StdinMode, WindowSize};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};

pub use self::child::SOCKET_FD;
pub use self::plan::{Failure, Plan, Work, refused};

use self::child::{Ends, Stdio};
use crate::accept::Sockets;
use crate::process::{Process, Sink, Wiring};
use crate::{sys, terminal};

/// Starts processes, and keeps what that takes.
pub struct Spawner {
    /// The limit of open descriptors that the agent was started with.
    descriptors: libc::rlimit,
    /// Sockets that are listened on for workers.
    sockets: Sockets,
    /// Capabilities that nobody may gain who becomes another user. Looked up once: they become no more.
    bounding: OnceCell<u64>,
}

impl Spawner {
    /// Children get this limit of open descriptors.
    pub fn new(descriptors: libc::rlimit) -> Self {
        Self { descriptors, sockets: Sockets::default(), bounding: OnceCell::new() }
    }

    /// Starts what the host asks for. Whether it could be executed is known only later, when the process
    /// has said so: nothing here waits for it.
    pub fn spawn(&mut self, start: Start) -> Result<Process, Refused> {
        let started_ns = sys::monotonic_ns();
        let (timeout_ms, window) = (start.timeout_ms, start.output_window);
        let plan = Plan::new(start, &mut self.sockets)?;
        let prepare = |errno| refused(Stage::Prepare, errno, plan.preparation());
        let (ours, stdio, status) = connect(&plan).map_err(prepare)?;
        let bounding = if plan.user.is_some() { *self.bounding.get_or_init(sys::bounding_set) } else { 0 };
        let ends = Ends { stdio, status, descriptors: self.descriptors, bounding };
        let pid = fork(&plan, &ends).map_err(prepare)?;
        let deadline_ns = timeout_ms.map(|limit| started_ns.saturating_add(limit.saturating_mul(1_000_000)));
        Ok(Process::new(pid, plan, ours, window, started_ns, deadline_ns))
    }
}

fn fork(plan: &Plan, ends: &Ends) -> rustix::io::Result<i32> {
    // SAFETY: the agent has one thread, so that the child may use whatever the agent could.
    match unsafe { libc::fork() } {
        0 => child::run(plan, ends),
        pid if pid > 0 => Ok(pid),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
    }
}

/// Both ends of everything between the agent and a child.
fn connect(plan: &Plan) -> rustix::io::Result<(Wiring, Stdio, OwnedFd)> {
    let (status, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&status, OFlags::NONBLOCK)?;
    let (stdin, stdout, stderr, stdio) = match plan.terminal {
        Some(size) => connect_terminal(size)?,
        None => connect_pipes(plan.stdin)?,
    };
    let ours = Wiring { status, stdin, stdout, stderr };
    Ok((ours, stdio, theirs))
}

type Connection = (Sink, OwnedFd, Option<OwnedFd>, Stdio);

fn connect_terminal(size: WindowSize) -> rustix::io::Result<Connection> {
    let (master, path) = terminal::open(size)?;
    let writer = fcntl_dupfd_cloexec(&master, 3)?;
    Ok((Sink::Terminal(writer), master, None, Stdio::Terminal(path)))
}

fn connect_pipes(stdin: StdinMode) -> rustix::io::Result<Connection> {
    let (sink, stdin) = match stdin {
        StdinMode::Null => (Sink::Nothing, None),
        StdinMode::Pipe => {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            (Sink::Pipe(ours), Some(theirs))
        }
    };
    let (our_stdout, stdout) = output_pipe()?;
    let (our_stderr, stderr) = output_pipe()?;
    Ok((sink, our_stdout, Some(our_stderr), Stdio::Pipes { stdin, stdout, stderr }))
}

/// A pipe whose reading end never blocks; the writing end does, as programs expect.
fn output_pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}
