//! The keeper: a small process between the fake and one command, so that nothing the command starts gets
//! away.
//!
//! The keeper is a copy of the test program that never executes anything. It is the reaper of all
//! descendants of the command (`PR_SET_CHILD_SUBREAPER`), so that orphans become its own children,
//! whatever session they are in. When its link to the fake is closed, by the fake or by the fake's own
//! death, it kills its children until it has none, and goes.
//!
//! ```text
//! fake ── link ── keeper ── command ── … every descendant
//! ```

use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use agentkernel_core::CommandUser;

use crate::environment::heed_every_signal;

/// A message of the keeper: what, and four numbers.
const MESSAGE_LEN: usize = 5 * size_of::<i64>();
const STARTED: i64 = 1;
const ENDED: i64 = 2;

/// The link's number in the keeper, which has no other files open but [`SIGNALS`].
const LINK: i32 = 0;
const SIGNALS: i32 = 1;

/// What the keeper says.
#[derive(Debug)]
pub enum Message {
    /// The command has this PID.
    Started(i32),
    /// The command has ended.
    Ended {
        /// As `wait4` gives it.
        status: i32,
        user_us: u64,
        system_us: u64,
        max_rss_kib: u64,
    },
}

impl Message {
    /// The next message; an error of kind `UnexpectedEof` when the keeper is gone.
    pub fn read(mut link: &UnixStream) -> io::Result<Self> {
        let mut bytes = [0; MESSAGE_LEN];
        link.read_exact(&mut bytes)?;
        let mut numbers =
            bytes.chunks_exact(8).map(|part| i64::from_ne_bytes(part.try_into().unwrap_or([0; 8])));
        let mut number = || numbers.next().unwrap_or_default();
        let what = number();
        let first = i32::try_from(number()).unwrap_or(-1);
        if what == STARTED {
            return Ok(Self::Started(first));
        }
        let mut count = || number().unsigned_abs();
        Ok(Self::Ended { status: first, user_us: count(), system_us: count(), max_rss_kib: count() })
    }
}

/// How the command's own process is set up, after the fork.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// Its stdin is a terminal that is to be its own.
    pub terminal: bool,
    /// Who it is, if not who runs the fake.
    pub user: Option<CommandUser>,
    /// How many bytes of memory it may have: it and each of its descendants.
    pub memory_max: Option<u64>,
}

/// Makes `command` start below a keeper, which holds `link`.
pub fn install(command: &mut Command, link: OwnedFd, child: Child) {
    let hook = move || {
        // Before the command can have a child: an orphan is not handed to who becomes its reaper later.
        // SAFETY: between fork and exec there is one thread; these are plain system calls here.
        let forked = unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            libc::fork()
        };
        match forked {
            0 => set_up(child),
            -1 => Err(io::Error::last_os_error()),
            pid => keep(link.as_raw_fd(), pid),
        }
    };
    // SAFETY: the hook and all that it calls allocate nothing, take no lock and make system calls only.
    unsafe { command.pre_exec(hook) };
}

/// In the command's process, before it is executed.
fn set_up(child: Child) -> io::Result<()> {
    heed_every_signal();
    let checked = |result: i32| if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: system calls in a process of one thread; the one pointer is to a value that outlives its call.
    unsafe {
        checked(libc::setsid())?;
        if let Some(bytes) = child.memory_max {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            checked(libc::setrlimit(libc::RLIMIT_AS, &raw const limit))?;
        }
        if child.terminal {
            checked(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
        }
        if let Some(user) = child.user {
            checked(libc::setgroups(0, std::ptr::null()))?;
            checked(libc::setgid(user.gid))?;
            checked(libc::setuid(user.uid))?;
        }
    }
    Ok(())
}

/// The whole life of the keeper.
fn keep(link: i32, command: i32) -> ! {
    // SAFETY: system calls on this process alone; the pointers are to values that outlive the calls.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"fake-keeper".as_ptr());
        libc::dup2(link, LINK);
        // Nothing of the test's may stay open here: not its pipes, and not the pipe by which std
        // learns that the command was executed.
        libc::close_range(1, u32::MAX, 0);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        let mut child_ended: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut child_ended, libc::SIGCHLD);
        if libc::signalfd(-1, &raw const child_ended, libc::SFD_NONBLOCK) != SIGNALS {
            libc::kill(command, libc::SIGKILL);
        }
    }
    send([STARTED, command.into(), 0, 0, 0]);
    let mut kills = false;
    while reap(command) {
        if kills {
            kill_children(command);
        }
        kills |= link_has_ended(kills);
    }
    // SAFETY: ends this process without running anything of the program that it is a copy of.
    unsafe { libc::_exit(0) }
}

/// Takes note of every child that has ended; false when there is none left.
fn reap(command: i32) -> bool {
    loop {
        let mut status = 0;
        // SAFETY: an all-zero rusage is a valid one, and both pointers outlive the call.
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
        };
        match pid {
            0 => return true,
            -1 => return false,
            pid if pid == command => {
                let us = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
                send([ENDED, status.into(), us(usage.ru_utime), us(usage.ru_stime), usage.ru_maxrss]);
            }
            _ => {}
        }
    }
}

/// Waits until a child or the link has something to say; true once the link has ended. While killing,
/// the link is no longer listened to, and the wait is short.
fn link_has_ended(kills: bool) -> bool {
    let wanted = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut fds = [wanted(SIGNALS), wanted(LINK)];
    let (count, timeout_ms) = if kills { (1, 20) } else { (2, -1) };
    let mut sink = [0_u8; size_of::<libc::signalfd_siginfo>()];
    // SAFETY: both arrays outlive the calls, and their lengths are told.
    unsafe {
        libc::poll(fds.as_mut_ptr(), count, timeout_ms);
        libc::read(SIGNALS, sink.as_mut_ptr().cast(), sink.len());
    }
    fds[1].revents != 0
}

/// Kills the children. Theirs become the keeper's own, and are killed in the next round.
fn kill_children(command: i32) {
    let mut text = [0_u8; 4096];
    // SAFETY: the path is a C string, and the length of the buffer is told.
    let length = unsafe {
        let list = libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let length = libc::read(list, text.as_mut_ptr().cast(), text.len());
        libc::close(list);
        length
    };
    let Ok(length) = usize::try_from(length) else {
        return kill(command); // a kernel without this list: at least the command goes
    };
    let mut pid = 0_i32;
    for byte in text.iter().take(length) {
        if byte.is_ascii_digit() {
            pid = pid.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
        } else {
            kill(pid);
            pid = 0;
        }
    }
}

fn kill(pid: i32) {
    if pid > 1 {
        // SAFETY: no pointers. The PID is a child that has not been reaped, or none any more.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

fn send(numbers: [i64; 5]) {
    // SAFETY: the array outlives the call, and its length is told. If the fake is gone, nobody listens.
    unsafe { libc::send(LINK, numbers.as_ptr().cast(), MESSAGE_LEN, libc::MSG_NOSIGNAL) };
}
