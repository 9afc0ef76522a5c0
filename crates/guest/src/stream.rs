//! The one stream to the host: whole frames in, frames out, never blocking. It may be without a host.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use agentkernel_protocol::{
    Decoder, Direction, HEADER_LEN, Kind, ProtocolError, Stream as Output, ToGuest, ToHost, encode,
};
use bytes::{BufMut, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, writev};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use rustix::pipe::fcntl_setpipe_size;

/// Bytes taken off the stream in one go.
const READ_LEN: usize = 64 * 1024;

/// Queued bytes beyond which no more output of processes is read: the host is slower than they are.
const OUTPUT_LIMIT: usize = 128 * 1024;

/// Queued bytes beyond which nothing more is read from the host either: it asks without listening.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// What the socket's or pipe's own buffer should hold, so that we and the host work at the same time.
const SEND_BUFFER: usize = 1024 * 1024;

/// Capacity of the queue that is kept when nothing runs.
const IDLE_CAPACITY: usize = 4 * 1024;

/// What reading from the stream came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes, which may complete frames.
    Bytes,
    /// Nothing now.
    Nothing,
    /// The host has closed the stream.
    End,
}

/// Both directions of the stream, with a decoder for the one and a queue for the other.
pub struct Stream {
    /// Where the host is heard.
    input: Option<OwnedFd>,
    /// Where the host hears; without it, what is sent is thrown away.
    output: Option<OwnedFd>,
    decoder: Decoder,
    queue: VecDeque<u8>,
    scratch: BytesMut,
    /// The kernel took less than it was given: wait until it can take more.
    blocked: bool,
}

impl Stream {
    /// A stream that reads from `input` and writes to `output`, which may be the same thing.
    pub fn new(input: OwnedFd, output: OwnedFd) -> rustix::io::Result<Self> {
        for fd in [&input, &output] {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        // For speed alone: where none of these is allowed, the stream is slower.
        set_socket_send_buffer_size_force(&output, SEND_BUFFER)
            .or_else(|_| set_socket_send_buffer_size(&output, SEND_BUFFER))
            .or_else(|_| fcntl_setpipe_size(&output, SEND_BUFFER).map(|_| ()))
            .ok();
        let decoder = Decoder::new(Direction::ToGuest);
        let (queue, scratch) = (VecDeque::new(), BytesMut::new());
        let (input, output) = (Some(input), Some(output));
        Ok(Self { input, output, decoder, queue, scratch, blocked: false })
    }

    /// A stream over one descriptor that goes both ways.
    pub fn duplex(both: OwnedFd) -> rustix::io::Result<Self> {
        let output = fcntl_dupfd_cloexec(&both, 0)?;
        Self::new(both, output)
    }

    /// Goes on over another descriptor, as if nothing had been said or heard.
    pub fn replace(&mut self, both: OwnedFd) -> rustix::io::Result<()> {
        self.hang_up();
        *self = Self::duplex(both)?;
        Ok(())
    }

    /// Whether there is a host to talk to.
    pub fn is_open(&self) -> bool {
        self.output.is_some()
    }

    /// Says nothing more, and still listens.
    pub fn mute(&mut self) {
        (self.output, self.queue, self.blocked) = (None, VecDeque::new(), false);
    }

    /// Says nothing of what was to be said.
    pub fn forget_queued(&mut self) {
        self.queue.clear();
    }

    /// Leaves the host. What was queued is dropped, and so is what came of a frame that is not whole.
    pub fn hang_up(&mut self) {
        self.mute();
        (self.input, self.scratch) = (None, BytesMut::new());
        self.decoder = Decoder::new(Direction::ToGuest);
    }

    /// What to wait for in order to read, unless the host must first take what it asked for.
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().filter(|_| self.queue.len() < ANSWER_LIMIT).map(AsFd::as_fd)
    }

    /// What to wait for in order to write, if anything is to be written.
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().filter(|_| !self.queue.is_empty()).map(AsFd::as_fd)
    }

    /// Whether output of processes would be taken now. Without a host no window is open, and none comes.
    pub fn takes_output(&self) -> bool {
        self.queue.len() < OUTPUT_LIMIT
    }

    /// Whether the host could end the stream here without cutting a frame in two.
    pub fn is_between_frames(&self) -> bool {
        self.decoder.is_between_frames()
    }

    /// Reads once.
    pub fn receive(&mut self) -> rustix::io::Result<Received> {
        let Some(input) = &self.input else { return Ok(Received::Nothing) };
        let buffer = self.decoder.buffer();
        buffer.reserve(READ_LEN);
        // SAFETY: the slice is only written to, by read.
        let spare = unsafe { buffer.chunk_mut().as_uninit_slice_mut() };
        let len = match read(input, spare) {
            Ok((filled, _)) => filled.len(),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        // SAFETY: read has filled that many bytes of the spare room.
        unsafe { buffer.advance_mut(len) };
        Ok(if len == 0 { Received::End } else { Received::Bytes })
    }

    /// The next message among the bytes received, with its channel.
    pub fn next_message(&mut self) -> Result<Option<(u32, ToGuest)>, ProtocolError> {
        let Some(frame) = self.decoder.next_frame()? else { return Ok(None) };
        Ok(Some((frame.channel, frame.try_into()?)))
    }

    /// Queues a message; [`Stream::flush`] sends it.
    pub fn send(&mut self, channel: u32, message: &ToHost) {
        self.scratch.clear();
        // Messages of the agent are far below the cap; one that is not cannot be sent at all.
        if self.is_open() && encode(channel, message, &mut self.scratch).is_ok() {
            self.queue.extend(&self.scratch[..]);
        }
    }

    /// Sends output of a process, after what is queued; only what the kernel does not take at once
    /// is copied.
    pub fn send_output(&mut self, channel: u32, stream: Output, bytes: &[u8]) -> rustix::io::Result<()> {
        let header = output_header(channel, stream, bytes.len());
        let mut sent = 0;
        let queued = self.queue.len();
        if !self.blocked {
            let (front, back) = self.queue.as_slices();
            sent = self.write(&[front, back, &header, bytes].map(IoSlice::new))?;
            self.blocked = sent < queued + header.len() + bytes.len();
            self.queue.drain(..sent.min(queued));
        }
        let sent = sent.saturating_sub(queued);
        self.queue.extend(&header[sent.min(HEADER_LEN)..]);
        self.queue.extend(&bytes[sent.saturating_sub(HEADER_LEN)..]);
        Ok(())
    }

    /// Sends as much of the queue as the kernel takes.
    pub fn flush(&mut self) -> rustix::io::Result<()> {
        if !self.queue.is_empty() && !self.blocked {
            let (front, back) = self.queue.as_slices();
            let sent = self.write(&[front, back].map(IoSlice::new))?;
            self.queue.drain(..sent);
            self.blocked = !self.queue.is_empty();
        }
        Ok(())
    }

    /// The kernel takes bytes again.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Sends the whole queue, waiting for the host up to `seconds`.
    pub fn finish(&mut self, seconds: i64) {
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        loop {
            self.unblock();
            if self.flush().is_err() || self.queue.is_empty() {
                return;
            }
            let Some(output) = &self.output else { return };
            match poll(&mut [PollFd::new(output, PollFlags::OUT)], Some(&timeout)) {
                Ok(1) => {}
                _ => return,
            }
        }
    }

    /// Gives back the memory of a flood that is over.
    pub fn shrink(&mut self) {
        self.queue.shrink_to(IDLE_CAPACITY);
        if self.decoder.is_between_frames() {
            *self.decoder.buffer() = BytesMut::new();
        }
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
        let Some(output) = &self.output else { return Err(Errno::PIPE) };
        match writev(output, slices) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            result => result,
        }
    }
}

/// The header of an output frame whose payload stays where it is.
fn output_header(channel: u32, stream: Output, len: usize) -> [u8; HEADER_LEN] {
    let kind = match stream {
        Output::Stdout => Kind::Stdout,
        Output::Stderr => Kind::Stderr,
    };
    let len = u32::try_from(len).unwrap_or(u32::MAX); // a chunk, which is far shorter
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4] = kind as u8;
    header[5..].copy_from_slice(&channel.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_header_written_here_is_the_one_of_the_protocol() {
        for (stream, message) in [
            (Output::Stdout, ToHost::Stdout(Bytes::from_static(b"abc"))),
            (Output::Stderr, ToHost::Stderr(Bytes::from_static(b"abc"))),
        ] {
            let mut frame = BytesMut::new();
            encode(7, &message, &mut frame).expect("three bytes fit");
            assert_eq!(frame[..HEADER_LEN], output_header(7, stream, 3));
        }
    }
}
