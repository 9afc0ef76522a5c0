//! The socket between the host side and a supervisor, and the one by which a lost host side is replaced.

use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with, sockopt::socket_peercred,
};

use super::{Ask, Report};

/// Longest line in bytes; each is some dozens.
const LINE_MAX: usize = 4096;

/// A supervisor's end of its control socket.
pub(super) struct Control {
    stream: UnixStream,
    line: Vec<u8>,
}

/// What came.
pub(super) enum Heard {
    /// Orders, with the descriptors that came along.
    Asked(Vec<Ask>, Vec<OwnedFd>),
    /// The other side is gone, or makes no sense.
    Gone,
}

impl Control {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, line: Vec::new() }
    }

    /// Tells the host side. That it is gone is no error: then there is nobody to tell.
    pub(super) fn say(&mut self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        drop(self.stream.write_all(&line));
    }

    /// Reads what there is.
    pub(super) fn hear(&mut self) -> Heard {
        let mut bytes = [0; LINE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(&mut bytes)];
        let length = match recvmsg(&self.stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) if message.bytes > 0 => message.bytes,
            Err(rustix::io::Errno::INTR) => return Heard::Asked(Vec::new(), Vec::new()),
            _ => return Heard::Gone,
        };
        let rights = ancillary.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        let descriptors = rights.flatten().collect();
        self.line.extend_from_slice(&bytes[..length]);
        let mut asks = Vec::new();
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(ask) => asks.push(ask),
                Err(_) => return Heard::Gone,
            }
        }
        if self.line.len() > LINE_MAX { Heard::Gone } else { Heard::Asked(asks, descriptors) }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The socket by which another program gets a sandbox back.
pub(super) struct Entrance {
    socket: OwnedFd,
    folder: OwnedFd,
    name: String,
}

impl Entrance {
    /// Makes it, beside the record.
    pub(super) fn open(record: &Path) -> io::Result<Self> {
        let (folder, name, address) = address(record)?;
        let socket = unix_socket()?;
        // Whose record is locked by us has no other supervisor: what is there is left of an earlier one.
        unlinkat(&folder, name.as_str(), AtFlags::empty()).ok();
        bind(&socket, &address)?;
        listen(&socket, 4)?;
        Ok(Self { socket, folder, name })
    }

    /// The next program, if it runs as the same user.
    pub(super) fn accept(&self) -> Option<Control> {
        let stream = accept_with(&self.socket, SocketFlags::CLOEXEC).ok()?;
        let peer = socket_peercred(&stream).ok()?;
        let own = rustix::process::geteuid();
        (peer.uid == own || peer.uid.is_root()).then(|| Control::new(UnixStream::from(stream)))
    }

    /// Removes it.
    pub(super) fn close(self) -> io::Result<()> {
        Ok(unlinkat(&self.folder, self.name.as_str(), AtFlags::empty())?)
    }
}

impl AsFd for Entrance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Comes in by the socket beside this record, as the sandbox's next holder. The stream does not block: a supervisor
/// that stands still must not hold anybody up.
pub(crate) fn enter(record: &Path) -> io::Result<UnixStream> {
    let (_folder, _name, address) = address(record)?;
    let socket = unix_socket()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

/// Sends some bytes and one descriptor, without waiting: who takes nothing any more must not hold anybody up.
pub(crate) fn send_with_descriptor(to: impl AsFd, bytes: &[u8], descriptor: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(to, &[io::IoSlice::new(bytes)], &mut ancillary, flags)?;
    Ok(())
}

fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// The address of the socket beside a record. It goes through the folder's descriptor: an address has room for 107
/// bytes, and a home may be deeper.
fn address(record: &Path) -> io::Result<(OwnedFd, String, SocketAddrUnix)> {
    let folder = record.parent().unwrap_or(Path::new("/"));
    let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = record.with_extension("sock");
    let name = name.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
    Ok((folder, name, address))
}
