//! Output that has come and was not taken yet, and the windows that bound it.

use std::collections::VecDeque;

use agentkernel_core::OutputStream;
use agentkernel_protocol::OUTPUT_WINDOW;
use bytes::{Bytes, BytesMut};

/// Taken bytes after which credit is given: often enough that the guest never stands still while the
/// host keeps up, seldom enough that it costs nothing.
const CREDIT_STEP: u32 = OUTPUT_WINDOW / 2;

/// A frame with less than this is copied to the ones before it. A slice keeps the whole read buffer
/// alive, so that a guest could otherwise make us hold a buffer for each byte of its window; so it is
/// some tens of buffers for the whole window.
const SMALL_LEN: usize = 16 * 1024;

/// Length up to which small frames are put together.
const JOINED_LEN_MAX: usize = 64 * 1024;

/// Chunks after which small frames are no longer kept in order *between* the streams, so that a guest
/// that alternates between them cannot make us hold a chunk for each byte.
const CHUNKS_IN_ORDER: usize = 1024;

/// What one stream may still send, and what it is owed for bytes that were taken.
#[derive(Debug)]
struct Window {
    allowed: u32,
    owed: u32,
}

impl Window {
    fn receive(&mut self, len: usize) -> Result<(), String> {
        if len == 0 {
            return Err("it carries nothing".into()); // and an endless number of them would fit
        }
        let left = u32::try_from(len).ok().and_then(|len| self.allowed.checked_sub(len));
        self.allowed = left.ok_or_else(|| {
            format!("{len} bytes, and its window of {OUTPUT_WINDOW} allows {} more", self.allowed)
        })?;
        Ok(())
    }

    /// Returns the credit that is due, 0 if it is not worth a frame yet.
    fn take(&mut self, len: usize) -> u32 {
        // What is taken was received before, so that the sum stays within the window.
        self.owed = self.owed.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        if self.owed >= CREDIT_STEP { self.pay() } else { 0 }
    }

    fn pay(&mut self) -> u32 {
        let due = std::mem::take(&mut self.owed);
        self.allowed = self.allowed.saturating_add(due);
        due
    }
}

/// Bytes of one stream that lie together.
#[derive(Debug)]
enum Chunk {
    /// A part of the buffer that it was read into.
    Slice(OutputStream, Bytes),
    /// Small frames, copied.
    Joined(OutputStream, BytesMut),
}

impl Chunk {
    fn stream(&self) -> OutputStream {
        match self {
            Self::Slice(stream, _) | Self::Joined(stream, _) => *stream,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Slice(_, bytes) => bytes.len(),
            Self::Joined(_, joined) => joined.len(),
        }
    }

    /// Adds the bytes, if that needs no new chunk.
    fn join(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Joined(_, joined) if joined.len() + bytes.len() <= JOINED_LEN_MAX => {
                joined.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }
}

/// Output of one process.
#[derive(Debug)]
pub(crate) struct OutputQueue {
    chunks: VecDeque<Chunk>,
    stdout: Window,
    stderr: Window,
}

impl OutputQueue {
    pub(crate) fn new() -> Self {
        let window = || Window { allowed: OUTPUT_WINDOW, owed: 0 };
        Self { chunks: VecDeque::new(), stdout: window(), stderr: window() }
    }

    fn window(&mut self, stream: OutputStream) -> &mut Window {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    /// Checks a frame's bytes against the window, and keeps them.
    pub(crate) fn receive(&mut self, stream: OutputStream, bytes: Bytes) -> Result<(), String> {
        self.window(stream).receive(bytes.len())?;
        if bytes.len() >= SMALL_LEN {
            self.chunks.push_back(Chunk::Slice(stream, bytes));
        } else if !self.join(stream, &bytes) {
            self.chunks.push_back(Chunk::Joined(stream, BytesMut::from(&bytes[..])));
        }
        Ok(())
    }

    /// Adds to the newest chunk of the stream, unless that would change the order between the streams.
    fn join(&mut self, stream: OutputStream, bytes: &[u8]) -> bool {
        let reach = if self.chunks.len() < CHUNKS_IN_ORDER { 1 } else { 2 };
        let newest = self.chunks.iter_mut().rev().take(reach).find(|chunk| chunk.stream() == stream);
        newest.is_some_and(|chunk| chunk.join(bytes))
    }

    /// The oldest chunk, and the credit that is now due.
    pub(crate) fn take(&mut self) -> Option<(OutputStream, Bytes, u32)> {
        let (stream, bytes) = match self.chunks.pop_front()? {
            Chunk::Slice(stream, bytes) => (stream, bytes),
            Chunk::Joined(stream, joined) => (stream, joined.freeze()),
        };
        let credit = self.window(stream).take(bytes.len());
        Some((stream, bytes, credit))
    }

    /// Throws everything away; returns the credit that is due for it.
    pub(crate) fn discard(&mut self) -> [(OutputStream, u32); 2] {
        for chunk in std::mem::take(&mut self.chunks) {
            let window = self.window(chunk.stream());
            window.owed = window.owed.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        }
        [OutputStream::Stdout, OutputStream::Stderr].map(|stream| (stream, self.window(stream).pay()))
    }

    /// Checks a frame that nobody wants; returns the credit that is now due.
    pub(crate) fn swallow(&mut self, stream: OutputStream, bytes: &[u8]) -> Result<u32, String> {
        self.window(stream).receive(bytes.len())?;
        Ok(self.window(stream).take(bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentkernel_core::OutputStream::{Stderr, Stdout};

    const WINDOW: usize = OUTPUT_WINDOW as usize;

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![b'x'; len])
    }

    #[test]
    fn a_stream_may_send_its_window_and_not_a_byte_more() {
        let mut queue = OutputQueue::new();
        queue.receive(Stdout, bytes(WINDOW)).expect("within the window");
        let why = queue.receive(Stdout, bytes(1)).expect_err("beyond it");
        assert_eq!(why, "1 bytes, and its window of 1048576 allows 0 more");
        queue.receive(Stderr, bytes(WINDOW)).expect("the other stream has its own");
        let (_, _, credit) = queue.take().expect("a chunk");
        assert_eq!(credit, OUTPUT_WINDOW);
        queue.receive(Stdout, bytes(WINDOW)).expect("credit was given");
    }

    #[test]
    fn credit_is_given_for_half_a_window_at_a_time() {
        let mut queue = OutputQueue::new();
        let quarter = WINDOW / 4;
        for _ in 0..4 {
            queue.receive(Stdout, bytes(quarter)).expect("within the window");
        }
        let credits: Vec<_> = std::iter::from_fn(|| queue.take()).map(|(.., credit)| credit).collect();
        assert_eq!(credits, [0, CREDIT_STEP, 0, CREDIT_STEP]);
    }

    #[test]
    fn small_frames_are_joined_and_keep_their_order() {
        let mut queue = OutputQueue::new();
        for (stream, text) in [(Stdout, "a"), (Stdout, "b"), (Stderr, "c"), (Stdout, "d")] {
            queue.receive(stream, Bytes::from(text)).expect("within the window");
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).map(|(s, b, _)| (s, b)).collect();
        assert_eq!(taken, [(Stdout, "ab".into()), (Stderr, "c".into()), (Stdout, "d".into())]);
    }

    #[test]
    fn alternating_bytes_are_bounded_and_each_stream_stays_in_order() {
        let mut queue = OutputQueue::new();
        for number in 0..200_000_u32 {
            let byte = Bytes::from(vec![number.to_le_bytes()[0]]);
            queue.receive(if number % 2 == 0 { Stdout } else { Stderr }, byte).expect("within the window");
        }
        assert!(queue.chunks.len() <= CHUNKS_IN_ORDER + 8, "{} chunks", queue.chunks.len());
        let mut seen = [0_u32, 1];
        while let Some((stream, bytes, _)) = queue.take() {
            let next = &mut seen[usize::from(stream == Stderr)];
            for byte in bytes {
                assert_eq!(byte, next.to_le_bytes()[0]);
                *next += 2;
            }
        }
        assert_eq!(seen, [200_000, 200_001]);
    }

    #[test]
    fn what_is_thrown_away_is_paid_for() {
        let mut queue = OutputQueue::new();
        queue.receive(Stdout, bytes(WINDOW)).expect("within the window");
        queue.receive(Stderr, bytes(10)).expect("within the window");
        assert_eq!(queue.discard(), [(Stdout, OUTPUT_WINDOW), (Stderr, 10)]);
        assert_eq!(queue.swallow(Stdout, &bytes(WINDOW)), Ok(OUTPUT_WINDOW));
        assert!(queue.take().is_none());
    }

    #[test]
    fn an_empty_frame_is_refused() {
        assert!(OutputQueue::new().receive(Stdout, Bytes::new()).is_err());
    }
}
