//! What happens between fork and exec: system calls only, in an order that matters.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use agentkernel_protocol::{Stage, UserIds};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use rustix::process::{chdir, getgid, getpid, getuid, ioctl_tiocsctty, set_child_subreaper, setsid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::plan::{Failure, Plan, Program, Work};
use crate::{accept, files, sys};

/// Where the child keeps the pipe on which it reports a failure; closing it means success.
const STATUS_FD: RawFd = 3;

/// Where a worker keeps the socket that it accepts from.
pub const SOCKET_FD: RawFd = 4;

/// The child's ends of everything between it and the agent.
pub struct Ends {
    /// What becomes its standard streams.
    pub stdio: Stdio,
    /// Where it reports a failure.
    pub status: OwnedFd,
    /// The limit of open descriptors that the agent was started with.
    pub descriptors: libc::rlimit,
    /// Capabilities that the agent could pass on, bit by bit.
    pub bounding: u64,
}

/// What becomes the child's standard streams.
pub enum Stdio {
    /// Three pipes; `/dev/null` for a missing stdin.
    Pipes {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// The terminal of that path, as the controlling one.
    Terminal(CString),
}

/// Does what is planned, and never comes back.
pub fn run(plan: &Plan, ends: &Ends) -> ! {
    let mut status: RawFd = ends.status.as_raw_fd();
    let code = match enter(plan, ends, &mut status) {
        Ok(()) => match &plan.work {
            Work::Program(program) => report(status, execute(program)),
            Work::File(request) => {
                sys::close_range(STATUS_FD, STATUS_FD);
                files::run(request)
            }
            Work::Accept(_) => {
                sys::close_range(STATUS_FD, STATUS_FD);
                match sys::inherited(SOCKET_FD, SOCKET_FD) {
                    Ok(socket) => accept::run(socket),
                    Err(_) => 1,
                }
            }
        },
        Err(failure) => report(status, failure),
    };
    // SAFETY: _exit ends the process at once: nothing of the agent's is run or flushed twice.
    unsafe { libc::_exit(code) }
}

/// Tells the agent why there will be no program.
fn report(status: RawFd, failure: Failure) -> i32 {
    let bytes = failure.encode();
    // SAFETY: the bytes live through the call; if nobody reads them, nobody waits for them either.
    unsafe { libc::write(status, bytes.as_ptr().cast(), bytes.len()) };
    127
}

fn enter(plan: &Plan, ends: &Ends, status: &mut RawFd) -> Result<(), Failure> {
    let prepare = |errno| Failure::new(Stage::Prepare, errno);
    setsid().map_err(prepare)?;
    attach(&ends.stdio, plan.user.as_ref()).map_err(prepare)?;
    place_status(status).map_err(prepare)?;
    // Not by close-on-exec alone: a worker never executes anything, and whoever hangs before exec
    // must not hold the pipes of others open.
    sys::close_range(first_closed(&plan.work).map_err(prepare)?, RawFd::MAX);
    sys::set_descriptor_limit(&ends.descriptors);
    if plan.gathers_orphans {
        // A descendant whose parent has ended stays below this process, where a timeout finds it.
        set_child_subreaper(Some(getpid())).ok();
    }
    if let Some(user) = &plan.user {
        become_user(user, ends.bounding).map_err(|errno| Failure::new(Stage::User, errno))?;
    }
    sys::unblock_signals();
    Ok(())
}

/// Moves the one descriptor more that a worker may need to its place, and says from where on all others are closed.
fn first_closed(work: &Work) -> rustix::io::Result<RawFd> {
    let Work::Accept(socket) = work else { return Ok(STATUS_FD + 1) };
    if socket.as_raw_fd() != SOCKET_FD {
        sys::place_fd(socket, SOCKET_FD).map_err(|error| sys::errno_of(&error))?;
    }
    Ok(SOCKET_FD + 1)
}

fn attach(stdio: &Stdio, user: Option<&UserIds>) -> rustix::io::Result<()> {
    let place = |fd: &OwnedFd, target| sys::place_fd(fd, target).map_err(|error| sys::errno_of(&error));
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            match stdin {
                Some(pipe) => place(pipe, 0)?,
                None => place(&open("/dev/null", OFlags::RDONLY, Mode::empty())?, 0)?,
            }
            place(stdout, 1)?;
            place(stderr, 2)
        }
        Stdio::Terminal(path) => {
            // Not by opening it: gVisor refuses to be asked for what it has given already.
            let terminal = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
            ioctl_tiocsctty(&terminal)?;
            if let Some(user) = user {
                // So that it can open its terminal by name; where that cannot be, it works without.
                fchown(&terminal, Some(Uid::from_raw(user.uid)), None).ok();
            }
            (0..3).try_for_each(|target| place(&terminal, target))
        }
    }
}

/// Moves the report pipe to its place, where everything above it can be closed.
fn place_status(status: &mut RawFd) -> rustix::io::Result<()> {
    if *status != STATUS_FD {
        // SAFETY: dup3 takes numbers; what was at the target is of no use to the child any more.
        if unsafe { libc::dup3(*status, STATUS_FD, libc::O_CLOEXEC) } < 0 {
            return Err(sys::errno_of(&io::Error::last_os_error()));
        }
        *status = STATUS_FD;
    }
    Ok(())
}

fn become_user(user: &UserIds, bounding: u64) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if (uid, gid) == (getuid(), getgid()) {
        return Ok(());
    }
    forgo_capabilities(bounding);
    // The user last: without root's rights the groups could not be changed.
    set_thread_groups(&[])?;
    set_thread_gid(gid)?;
    set_thread_uid(uid)
}

/// Nothing that the process becomes can gain a right again. An agent that may not say so has none to give.
fn forgo_capabilities(bounding: u64) {
    for capability in (0..u64::from(u64::BITS)).filter(|bit| bounding >> bit & 1 == 1) {
        // SAFETY: prctl takes numbers. It fails beyond the last capability that this kernel knows.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return;
        }
    }
}

/// Becomes the first candidate that can be executed, or says why none can.
fn execute(program: &Program) -> Failure {
    if let Err(errno) = chdir(&program.cwd) {
        return Failure::new(Stage::WorkingDirectory, errno);
    }
    let mut failure = program.lookup_failure(libc::ENOENT);
    for (candidate, path) in (0..).zip(&program.candidates) {
        // SAFETY: all three are null-terminated, and live as long as the plan that this is part of.
        unsafe { libc::execve(path.as_ptr(), program.argv(), program.env()) };
        let errno = sys::errno_of(&io::Error::last_os_error()).raw_os_error();
        match errno {
            // Not here; and if one was found but not executable, that stays the better answer.
            libc::ENOENT | libc::ENOTDIR if program.is_searched() => {}
            libc::ENOENT | libc::ENOTDIR | libc::EACCES => failure = program.lookup_failure(errno),
            _ => return Failure { stage: Stage::Exec, errno, candidate },
        }
    }
    failure
}
