//! A connection to the daemon.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use agentkernel_core::DuplexStream;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::{Address, Error, Result};

/// How long a connection over TCP may take; one over a socket of this host takes no time at all.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A connection that was made and carries nothing yet.
#[derive(Debug)]
pub struct Connection(Socket);

#[derive(Debug)]
enum Socket {
    Unix(StdUnixStream),
    Tcp(TcpStream),
}

impl Connection {
    /// Connects to a socket of this host, at once or not at all. Needs no async runtime, so that a program can look
    /// for a daemon before it has one.
    pub fn unix(path: &Path) -> Result<Self> {
        let failed = |why: io::Error| Error::no_daemon(path.display(), &why);
        unix(path).map(|socket| Self(Socket::Unix(socket))).map_err(failed)
    }

    /// Connects.
    pub async fn open(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => Self::unix(path),
            Address::Tcp { host, .. } => {
                let connected = timeout(CONNECT_DEADLINE, TcpStream::connect(host)).await;
                let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let socket = connected.map_err(|why| Error::no_daemon(host, &why))?;
                // Keys and signals are small, and waited for.
                socket.set_nodelay(true).map_err(|why| Error::no_daemon(host, &why))?;
                Ok(Self(Socket::Tcp(socket)))
            }
        }
    }

    /// The stream; from here on there must be an async runtime.
    pub(crate) fn into_stream(self) -> Result<Box<dyn DuplexStream>> {
        match self.0 {
            Socket::Unix(socket) => {
                let socket = UnixStream::from_std(socket);
                Ok(Box::new(socket.map_err(|why| Error::broken("talk to the daemon", why))?))
            }
            Socket::Tcp(socket) => Ok(Box::new(socket)),
        }
    }
}

fn unix(path: &Path) -> io::Result<StdUnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Without waiting: a daemon that does not come to accept, a stopped one for example, is none.
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    check_peer(&socket)?;
    Ok(socket.into())
}

/// Refuses a daemon of somebody else: it would see our commands and our files.
fn check_peer(socket: &OwnedFd) -> io::Result<()> {
    let (theirs, ours) = (sockopt::socket_peercred(socket)?.uid, rustix::process::geteuid());
    if theirs == ours || theirs.is_root() {
        return Ok(());
    }
    Err(io::Error::other(format!("it belongs to user {}, and not to us", theirs.as_raw())))
}
