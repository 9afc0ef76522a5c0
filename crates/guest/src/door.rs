//! The door: where the stream of another host comes in.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketType, recvmsg,
};

/// One end of a socket on which each message brings one stream.
pub struct Door {
    socket: OwnedFd,
}

/// What is at the door.
pub enum Knock {
    /// Nothing.
    Nothing,
    /// A message that brings no stream, or more than one: whatever it brought is closed again.
    Garbled,
    /// The stream of another host.
    Stream(OwnedFd),
    /// Nobody will ever come again.
    Closed,
}

impl Door {
    /// A door, if this is the kind of socket that can be one.
    pub fn new(socket: OwnedFd) -> Result<Self, String> {
        match (socket_domain(&socket), socket_type(&socket)) {
            (Ok(AddressFamily::UNIX), Ok(SocketType::SEQPACKET)) => Ok(Self { socket }),
            (Err(error), _) | (_, Err(error)) => Err(format!("door: {error}")),
            _ => Err("door: it is no AF_UNIX socket of type SOCK_SEQPACKET".into()),
        }
    }

    /// What to wait for until somebody knocks.
    pub fn wanted(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes the next message.
    ///
    /// There is room in the table of descriptors whenever no host is left: those of the last stream were
    /// closed, and nobody could ask for more since.
    pub fn answer(&self) -> Knock {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0]; // of which nothing is expected
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags);
        let message = match message {
            Ok(message) => message,
            Err(Errno::AGAIN | Errno::INTR) => return Knock::Nothing,
            Err(_) => return Knock::Closed,
        };
        let mut streams = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                streams.extend(rights);
            }
        }
        let was_cut = message.flags.contains(ReturnFlags::CTRUNC); // there were more than we had room for
        match (streams.pop(), streams.is_empty()) {
            (Some(stream), true) if !was_cut => Knock::Stream(stream),
            (None, _) if message.bytes == 0 && self.is_closed() => Knock::Closed,
            _ => Knock::Garbled,
        }
    }

    /// Whether the other end is gone: its end and an empty message read the same.
    fn is_closed(&self) -> bool {
        let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(gone)
    }
}
