//! The stdin of a process: bounded by its window, written as the process takes it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use agentkernel_protocol::STDIN_WINDOW;
use rustix::io::{Errno, write, writev};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

/// Credit is given in steps of this size, or when all that came was taken.
const CREDIT_STEP: u32 = 64 * 1024;

/// Where stdin goes.
pub enum Sink {
    /// Nowhere: `/dev/null`, or a process that has closed it or ended.
    Nothing,
    /// A pipe; its end is told by closing it.
    Pipe(OwnedFd),
    /// A terminal; its end is told by a character.
    Terminal(OwnedFd),
}

/// What the host sent and the process has not taken.
pub struct Input {
    sink: Sink,
    /// The host was offered a stdin at all.
    offered: bool,
    queue: VecDeque<u8>,
    /// The host has said that no more will come.
    ended: bool,
    /// Bytes that came and for which no credit was given.
    outstanding: u32,
    /// The last byte was not the end of a line.
    within_line: bool,
}

impl Input {
    /// Input that goes to `sink`.
    pub fn new(sink: Sink) -> Self {
        let offered = !matches!(sink, Sink::Nothing);
        Self { sink, offered, queue: VecDeque::new(), ended: false, outstanding: 0, within_line: false }
    }

    /// Another host has come: it owes what is still queued, and is told so instead of being given credit.
    pub fn find_host(&mut self) {
        self.outstanding = if self.ended { 0 } else { self.queued() };
    }

    /// Bytes that the host may send now; none where stdin was never there or has ended.
    pub fn free(&self) -> Option<u32> {
        (self.offered && !self.ended).then(|| STDIN_WINDOW.saturating_sub(self.outstanding))
    }

    /// Bytes of the host's that were not taken yet.
    fn queued(&self) -> u32 {
        // The end character of a terminal was never the host's: hence the minimum.
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX).min(self.outstanding)
    }

    /// Takes bytes of the host; an error says which rule they broke.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.ended {
            return Err("stdin after its end");
        }
        let outstanding = u32::try_from(bytes.len()).ok().and_then(|len| self.outstanding.checked_add(len));
        match outstanding.filter(|bytes| *bytes <= STDIN_WINDOW) {
            Some(bytes) => self.outstanding = bytes,
            None => return Err("more stdin than its window allows"),
        }
        if let Some(last) = bytes.last() {
            self.within_line = *last != b'\n';
        }
        if !matches!(self.sink, Sink::Nothing) {
            self.queue.extend(bytes);
        }
        Ok(())
    }

    /// No more will come: the process is told once it has taken what is queued.
    pub fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        if let Sink::Terminal(terminal) = &self.sink
            && let Ok(modes) = tcgetattr(terminal)
            && modes.local_modes.contains(LocalModes::ICANON)
        {
            // Within a line the first one only hands the line over, and the second is the end.
            let times = if self.within_line { 2 } else { 1 };
            let end = modes.special_codes[SpecialCodeIndex::VEOF];
            self.queue.extend(std::iter::repeat_n(end, times));
        }
    }

    /// Writes what the process takes now.
    pub fn write(&mut self) {
        let (Sink::Pipe(fd) | Sink::Terminal(fd)) = &self.sink else { return };
        if !self.queue.is_empty() {
            let (front, back) = self.queue.as_slices();
            let result =
                if back.is_empty() { write(fd, front) } else { writev(fd, &[front, back].map(IoSlice::new)) };
            match result {
                Ok(len) => drop(self.queue.drain(..len)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return self.close(),
            }
        }
        if self.queue.is_empty() && self.ended && matches!(self.sink, Sink::Pipe(_)) {
            self.close();
        }
    }

    /// Nobody takes anything any more: what comes is thrown away, and paid for with credit.
    pub fn close(&mut self) {
        self.sink = Sink::Nothing;
        self.queue = VecDeque::new();
    }

    /// What to wait for, if anything is to be written.
    pub fn wanted(&self) -> Option<BorrowedFd<'_>> {
        match &self.sink {
            Sink::Pipe(fd) | Sink::Terminal(fd) if !self.queue.is_empty() => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// The credit that is due to the host, if it is worth a frame.
    pub fn take_credit(&mut self) -> Option<u32> {
        let queued = self.queued();
        let due = self.outstanding - queued;
        if due == 0 || (due < CREDIT_STEP && queued > 0) {
            return None;
        }
        self.outstanding = queued;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::read;
    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

    fn pipe() -> (OwnedFd, Input) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        fcntl_setpipe_size(&writer, 4096).expect("a small pipe");
        (reader, Input::new(Sink::Pipe(writer)))
    }

    #[test]
    fn bytes_beyond_the_window_are_refused() {
        let (_reader, mut input) = pipe();
        let window = vec![0; STDIN_WINDOW as usize];
        assert_eq!(input.push(&window), Ok(()));
        assert!(input.push(b"x").is_err());
        input.write();
        assert!(input.push(b"x").is_err(), "taken, but no credit was given yet");
    }

    #[test]
    fn credit_comes_in_steps_and_when_all_is_taken() {
        let (reader, mut input) = pipe();
        input.push(&[b'x'; 5000]).expect("within the window");
        input.write();
        assert_eq!(input.take_credit(), None, "4096 of 5000 taken are not worth a frame");
        read(&reader, &mut [0; 8192]).expect("a full pipe");
        input.write();
        assert_eq!(input.take_credit(), Some(5000));
        assert_eq!(input.take_credit(), None);
    }

    #[test]
    fn another_host_owes_what_is_queued_and_gets_credit_for_nothing_else() {
        let (reader, mut input) = pipe();
        input.push(&[b'x'; 200_000]).expect("within the window");
        input.write();
        input.find_host();
        assert_eq!(input.free(), Some(STDIN_WINDOW - (200_000 - 4096)));
        assert_eq!(input.take_credit(), None, "what was written before is forgotten");
        read(&reader, &mut [0; 8192]).expect("a full pipe");
        input.write();
        input.end();
        input.find_host();
        assert_eq!(input.free(), None);
        while input.wanted().is_some() {
            read(&reader, &mut [0; 8192]).expect("a full pipe");
            input.write();
            assert_eq!(input.take_credit(), None, "a host that sends nothing is owed nothing");
        }
        assert_eq!(Input::new(Sink::Nothing).free(), None);
    }

    #[test]
    fn a_closed_pipe_swallows_bytes_and_pays_for_them() {
        let (reader, mut input) = pipe();
        drop(reader);
        for _ in 0..3 {
            input.push(&vec![0; STDIN_WINDOW as usize]).expect("within the window");
            input.write();
            assert_eq!(input.take_credit(), Some(STDIN_WINDOW));
        }
    }

    #[test]
    fn the_end_is_told_after_the_last_byte() {
        let (reader, mut input) = pipe();
        input.push(b"last").expect("within the window");
        input.end();
        assert!(input.push(b"more").is_err());
        input.write();
        let mut bytes = [0; 16];
        assert_eq!(read(&reader, &mut bytes), Ok(4));
        assert_eq!(read(&reader, &mut bytes), Ok(0));
    }
}
