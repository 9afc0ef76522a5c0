//! Sockets of the sandbox whose other end is the host's: the agent listens, and a worker passes each connection on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use agentkernel_protocol::{Passing, encode_record};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdir, open, unlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::geteuid;
use rustix::stdio::{stderr, stdin, stdout};

use crate::files::{copy, standard};
use crate::spawn::SOCKET_FD;
use crate::sys;

/// Most sockets at once. A sandbox is given one.
const SOCKETS_MAX: usize = 4;

/// Stack of the thread that passes bytes one way, bytes: it calls read and write.
const STACK_LEN: usize = 64 * 1024;

/// The sockets that the agent listens on, by their paths.
#[derive(Default)]
pub struct Sockets(BTreeMap<Vec<u8>, OwnedFd>);

impl Sockets {
    /// The socket at this path for a worker, which is made if it is not there.
    pub fn get(&mut self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        if let Some(socket) = self.0.get(path) {
            return for_worker(socket);
        }
        if self.0.len() >= SOCKETS_MAX {
            return Err(Errno::MFILE);
        }
        let socket = listen(Path::new(OsStr::from_bytes(path)))?;
        let copy = for_worker(&socket)?;
        self.0.insert(path.to_owned(), socket);
        Ok(copy)
    }
}

/// A copy that is out of the way of what a worker puts in its place.
fn for_worker(socket: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    fcntl_dupfd_cloexec(socket, SOCKET_FD + 1)
}

/// Makes the socket in a folder that is the agent's own, in a place where nobody else can replace it (`/dev/shm` is
/// sticky): in one of somebody else's, what is removed here could be anything by then.
fn listen(path: &Path) -> rustix::io::Result<OwnedFd> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    match mkdir(folder, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty())?;
    let facts = fstat(&folder)?;
    if facts.st_uid != geteuid().as_raw() || facts.st_mode & 0o022 != 0 {
        return Err(Errno::PERM);
    }
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path).map_err(|error| sys::errno_of(&error))?;
    // Every user of the sandbox may connect: all of them are one tenant.
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, everybody).map_err(|error| sys::errno_of(&error))?;
    Ok(listener.into())
}

/// Accepts one connection and passes it on; returns the exit code.
pub fn run(listener: OwnedFd) -> i32 {
    i32::from(pass(&UnixListener::from(listener)).is_err())
}

fn pass(listener: &UnixListener) -> io::Result<()> {
    let (client, _) = listener.accept()?;
    tell(Passing::Accepted)?;
    let to_client = client.try_clone()?;
    std::thread::Builder::new().stack_size(STACK_LEN).spawn(move || answer(&to_client))?;
    let said = copy(&mut &client, &mut standard(stdout())?)?;
    tell(Passing::Said(said))?;
    wait_for_both_ends(&client)
}

/// Passes on what the host says, and its end. That the client does not want to hear it is its own affair.
fn answer(mut client: &UnixStream) {
    if let Ok(mut input) = standard(stdin()) {
        copy(&mut input, &mut client).ok();
    }
    client.shutdown(Shutdown::Write).ok();
}

/// Waits until nothing can pass in either direction: the host's end has been passed on, or the client is gone.
fn wait_for_both_ends(client: &UnixStream) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(client, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn tell(passing: Passing) -> io::Result<()> {
    standard(stderr())?.write_all(&encode_record(&passing))
}
