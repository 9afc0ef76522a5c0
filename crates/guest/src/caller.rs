//! A stream for an agent whose host can only execute programs beside it: the first process waits for a caller, and a
//! program of the same file passes the caller's standard streams on to it.
//!
//! Both ends are on an abstract socket: it is in no file system, of which all may be read-only, and it is the network
//! namespace's alone. The caller is of a user that no program of the sandbox can be, so that none can call in its place,
//! nor end it or look into it later; after the first nobody listens.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{DumpableBehavior, Uid, set_dumpable_behavior};
use rustix::stdio::{stdin, stdout};

use crate::files::{copy, standard};
use crate::sys;

/// How long a host may take to call, or the first process to listen: each is the next step of whoever did the other.
const WAIT_NS: u64 = 30_000_000_000;

/// How long to wait before the first process is called again.
const PAUSE_NS: u64 = 2_000_000;

/// Stack of the thread that passes bytes one way, bytes: it calls read and write.
const STACK_LEN: usize = 64 * 1024;

fn address(name: &[u8]) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// The stream of the first caller who is this user.
pub fn first(name: &[u8], user: Uid) -> io::Result<OwnedFd> {
    let until_ns = sys::monotonic_ns().saturating_add(WAIT_NS);
    let listener = UnixListener::bind_addr(&address(name)?)?;
    loop {
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        if poll(&mut fds, Some(&sys::time_left(until_ns)))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody called"));
        }
        let (stream, _) = listener.accept()?;
        if socket_peercred(&stream)?.uid == user {
            return Ok(stream.into());
        }
    }
}

/// Passes our standard streams on to the first process; returns the exit code: 0 once it has ended the stream.
pub fn pass(name: &[u8]) -> io::Result<i32> {
    // As for the agent itself: what passes here is nobody's in the sandbox.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let first = call(name)?;
    let to_first = first.try_clone()?;
    std::thread::Builder::new().stack_size(STACK_LEN).spawn(move || speak(&to_first))?;
    copy(&mut &first, &mut standard(stdout())?)?;
    Ok(0)
}

/// What the host says, and its end.
fn speak(mut first: &UnixStream) {
    if let Ok(mut input) = standard(stdin()) {
        copy(&mut input, &mut first).ok();
    }
    // It fails only where the stream has ended already.
    first.shutdown(Shutdown::Write).ok();
}

/// It may not listen yet: nobody tells when it does.
fn call(name: &[u8]) -> io::Result<UnixStream> {
    let (address, until_ns) = (address(name)?, sys::monotonic_ns().saturating_add(WAIT_NS));
    loop {
        match UnixStream::connect_addr(&address) {
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused && sys::monotonic_ns() < until_ns => {
                std::thread::park_timeout(std::time::Duration::from_nanos(PAUSE_NS));
            }
            called => return called,
        }
    }
}
