//! Starts processes.

mod child;
mod plan;

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

/// Starts what the host asks for. Whether it could be executed is known only later, when the process
/// has said so: nothing here waits for it.
pub fn spawn(start: Start, descriptors: libc::rlimit, sockets: &mut Sockets) -> Result<Process, Refused> {
    let started_ns = sys::monotonic_ns();
    let (timeout_ms, window) = (start.timeout_ms, start.output_window);
    let plan = Plan::new(start, sockets)?;
    let prepare = |errno| refused(Stage::Prepare, errno, plan.preparation());
    let (ours, ends) = connect(&plan, descriptors).map_err(prepare)?;
    let pid = fork(&plan, &ends).map_err(prepare)?;
    let deadline_ns = timeout_ms.map(|limit| started_ns.saturating_add(limit.saturating_mul(1_000_000)));
    Ok(Process::new(pid, plan, ours, window, started_ns, deadline_ns))
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
fn connect(plan: &Plan, descriptors: libc::rlimit) -> rustix::io::Result<(Wiring, Ends)> {
    let (status, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&status, OFlags::NONBLOCK)?;
    let (stdin, stdout, stderr, stdio) = match plan.terminal {
        Some(size) => connect_terminal(size)?,
        None => connect_pipes(plan.stdin)?,
    };
    let ours = Wiring { status, stdin, stdout, stderr };
    Ok((ours, Ends { stdio, status: theirs, descriptors }))
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
