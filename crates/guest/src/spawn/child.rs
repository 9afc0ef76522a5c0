//! What happens between fork and exec: system calls only, in an order that matters.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, RawFd};
use std::rc::Rc;

use agentkernel_protocol::{Stage, UserIds};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use rustix::process::{chdir, getgid, getpid, getuid, ioctl_tiocsctty, set_child_subreaper, setsid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::plan::{Failure, Plan, Program, Work};
use crate::sys::raw;
use crate::{accept, files, sys};

/// Where the child keeps the pipe on which it reports a failure; closing it means success.
const STATUS_FD: RawFd = 3;

/// Where a worker keeps the socket that it accepts from.
pub const SOCKET_FD: RawFd = 4;

/// All that a child needs. It owns nothing of it, and changes nothing: it may be the agent's own memory that it reads.
pub struct Job {
    /// What to do.
    pub plan: Rc<Plan>,
    /// What becomes its standard streams.
    pub stdio: Stdio,
    /// Where it reports a failure.
    pub status: RawFd,
    /// The list of processes of the control group that it enters, if it is not in its group already.
    pub group: Option<RawFd>,
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
        stdin: Option<RawFd>,
        /// Standard output.
        stdout: RawFd,
        /// Standard error.
        stderr: RawFd,
    },
    /// The terminal of that path, as the controlling one.
    Terminal(CString),
}

/// Does what is planned, and never comes back.
pub fn run(job: &Job) -> ! {
    let mut status = job.status;
    let code = match (enter(job, &mut status), &job.plan.work) {
        (Ok(()), Work::Program(program)) => report(status, execute(program)),
        (Ok(()), Work::File(request)) => {
            raw::close(STATUS_FD);
            files::run(request)
        }
        (Ok(()), Work::Accept(_)) => {
            raw::close(STATUS_FD);
            match sys::inherited(SOCKET_FD, SOCKET_FD) {
                Ok(socket) => accept::run(socket),
                Err(_) => 1,
            }
        }
        (Err(failure), _) => report(status, failure),
    };
    raw::exit(code)
}

/// Tells the agent why there will be no program.
fn report(status: RawFd, failure: Failure) -> i32 {
    // If nobody reads it, nobody waits for it either.
    raw::write(status, &failure.encode()).ok();
    127
}

fn enter(job: &Job, status: &mut RawFd) -> Result<(), Failure> {
    let prepare = |errno| Failure::new(Stage::Prepare, errno);
    let plan = &job.plan;
    if let Some(group) = job.group {
        // First, so that whatever it uses is counted there. 0 is whoever writes it (cgroups(7)).
        raw::write(group, b"0").map_err(prepare)?;
    }
    setsid().map_err(prepare)?;
    attach(&job.stdio, plan.user.as_ref()).map_err(prepare)?;
    move_to(*status, STATUS_FD, libc::O_CLOEXEC).map_err(prepare)?;
    *status = STATUS_FD;
    // Not by close-on-exec alone: a worker never executes anything, and whoever hangs before exec
    // must not hold the pipes of others open.
    raw::close_from(first_closed(&plan.work).map_err(prepare)?);
    raw::set_descriptor_limit(&job.descriptors);
    if plan.gathers_orphans {
        // A descendant whose parent has ended stays below this process, where a timeout finds it.
        set_child_subreaper(Some(getpid())).ok();
    }
    if let Some(user) = &plan.user {
        become_user(user, job.bounding).map_err(|errno| Failure::new(Stage::User, errno))?;
    }
    raw::unblock_signals();
    Ok(())
}
/// Puts a descriptor in its place, if it is not there.
fn move_to(fd: RawFd, place: RawFd, flags: i32) -> rustix::io::Result<()> {
    if fd == place { Ok(()) } else { raw::place(fd, place, flags) }
}

/// Moves the one descriptor more that a worker may need to its place, and says from where on all others are closed.
fn first_closed(work: &Work) -> rustix::io::Result<RawFd> {
    let Work::Accept(socket) = work else { return Ok(STATUS_FD + 1) };
    move_to(socket.as_raw_fd(), SOCKET_FD, 0)?;
    Ok(SOCKET_FD + 1)
}

fn attach(stdio: &Stdio, user: Option<&UserIds>) -> rustix::io::Result<()> {
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            match stdin {
                Some(pipe) => move_to(*pipe, 0, 0)?,
                None => move_to(open("/dev/null", OFlags::RDONLY, Mode::empty())?.as_raw_fd(), 0, 0)?,
            }
            move_to(*stdout, 1, 0)?;
            move_to(*stderr, 2, 0)
        }
        Stdio::Terminal(path) => {
            // Not by opening it: gVisor refuses to be asked for what it has given already.
            let terminal = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
            ioctl_tiocsctty(&terminal)?;
            if let Some(user) = user {
                // So that it can open its terminal by name; where that cannot be, it works without.
                fchown(&terminal, Some(Uid::from_raw(user.uid)), None).ok();
            }
            (0..3).try_for_each(|place| move_to(terminal.as_raw_fd(), place, 0))
        }
    }
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
    let mut all = (0..u64::BITS).filter(|bit| bounding >> bit & 1 == 1);
    // It fails beyond the last one that this kernel knows, too.
    all.try_for_each(raw::forgo_capability).ok();
}

/// Becomes the first candidate that can be executed, or says why none can.
fn execute(program: &Program) -> Failure {
    if let Err(errno) = chdir(&program.cwd) {
        return Failure::new(Stage::WorkingDirectory, errno);
    }
    let mut failure = program.lookup_failure(libc::ENOENT);
    for (candidate, path) in (0..).zip(&program.candidates) {
        // SAFETY: both end with a null pointer, and live as long as the plan that this is part of.
        let errno = unsafe { raw::execute(path, program.argv(), program.env()) }.raw_os_error();
        match errno {
            // Not here; and if one was found but not executable, that stays the better answer.
            libc::ENOENT | libc::ENOTDIR if program.is_searched() => {}
            libc::ENOENT | libc::ENOTDIR | libc::EACCES => failure = program.lookup_failure(errno),
            _ => return Failure { stage: Stage::Exec, errno, candidate },
        }
    }
    failure
}
