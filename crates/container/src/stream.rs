//! The attached streams of a container, as one duplex stream.
//!
//! What comes from an engine is cut into pieces of stdout and stderr, each behind a head of eight bytes: kind, three
//! zeros, length (big-endian). What goes to it is stdin as it is. Stdout is the guest agent's; of stderr the last words
//! are kept, for whoever asks why the agent did not come up.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most that is kept of what a container or a program complains of, bytes.
const WORDS_MAX: usize = 2000;

/// Read at once, bytes.
const CHUNK: usize = 64 << 10;

const HEAD: usize = 8;

/// What a container, or a program, has said on stderr.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastWords(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>);

impl LastWords {
    /// Reads what a program complains of, lest it wait for somebody who does.
    pub(crate) fn of(mut stderr: impl io::Read + Send + 'static) -> Self {
        let words = Self::default();
        let heard = words.clone();
        let read = move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut chunk) {
                heard.add(&chunk[..count]);
            }
            heard.1.store(true, Ordering::Release);
        };
        drop(std::thread::Builder::new().name("ak-words".into()).spawn(read));
        words
    }

    /// Whether a program will say no more.
    pub(crate) fn are_all(&self) -> bool {
        self.1.load(Ordering::Acquire)
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&words);
        text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
    }

    fn add(&self, bytes: &[u8]) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(bytes);
        let beyond = words.len().saturating_sub(WORDS_MAX);
        words.drain(..beyond);
    }
}

/// Both streams of a container.
pub(crate) struct Attached<S> {
    inner: S,
    /// Read from the engine, and not yet looked at.
    raw: BytesMut,
    /// What is left of the piece that is being read.
    piece: Piece,
    words: LastWords,
}

/// The piece of a stream that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// Its head has not come yet.
    Unknown,
    Stdout(usize),
    Other(usize),
}

impl<S> Attached<S> {
    /// The streams behind a connection on which so much has come already.
    pub(crate) fn new(inner: S, begun: &Bytes) -> (Self, LastWords) {
        let words = LastWords::default();
        let raw = BytesMut::from(&begun[..]);
        (Self { inner, raw, piece: Piece::Unknown, words: words.clone() }, words)
    }

    /// Moves what is there of stdout into `out`; whether anything was.
    fn take(&mut self, out: &mut ReadBuf<'_>) -> io::Result<bool> {
        loop {
            match self.piece {
                Piece::Unknown if self.raw.len() < HEAD => return Ok(false),
                Piece::Unknown => self.piece = head(&self.raw.split_to(HEAD))?,
                Piece::Stdout(0) | Piece::Other(0) => self.piece = Piece::Unknown,
                _ if self.raw.is_empty() => return Ok(false),
                Piece::Other(left) => {
                    let some = left.min(self.raw.len());
                    self.words.add(&self.raw.split_to(some));
                    self.piece = Piece::Other(left - some);
                }
                Piece::Stdout(left) => {
                    let some = left.min(self.raw.len()).min(out.remaining());
                    out.put_slice(&self.raw[..some]);
                    self.raw.advance(some);
                    self.piece = Piece::Stdout(left - some);
                    return Ok(true);
                }
            }
        }
    }
}

fn head(head: &[u8]) -> io::Result<Piece> {
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidData, format!("the engine's stream is garbled: {head:x?}"));
    let (&[kind, 0, 0, 0], length) = head.split_first_chunk::<4>().ok_or_else(wrong)? else {
        return Err(wrong());
    };
    let length = length.try_into().map(u32::from_be_bytes).map_err(|_| wrong())?;
    let length = usize::try_from(length).map_err(|_| wrong())?;
    match kind {
        1 => Ok(Piece::Stdout(length)),
        // 2 is stderr, and 3 what the engine itself says.
        2 | 3 => Ok(Piece::Other(length)),
        _ => Err(wrong()),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Attached<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.take(out)? {
                return Poll::Ready(Ok(()));
            }
            this.raw.resize(this.raw.len() + CHUNK, 0);
            let filled = this.raw.len() - CHUNK;
            let mut chunk = ReadBuf::new(&mut this.raw[filled..]);
            let read = Pin::new(&mut this.inner).poll_read(context, &mut chunk);
            let count = chunk.filled().len();
            this.raw.truncate(filled + count);
            ready!(read)?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attached<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn piece(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&[kind, 0, 0, 0], &length[..], bytes].concat()
    }

    async fn read_in_steps(bytes: &[u8], step: usize) -> (io::Result<Vec<u8>>, String) {
        let (mut engine, ours) = tokio::io::duplex(step);
        let (mut attached, words) = Attached::new(ours, &Bytes::new());
        let bytes = bytes.to_vec();
        let writer = tokio::spawn(async move { engine.write_all(&bytes).await });
        let mut out = Vec::new();
        let read = attached.read_to_end(&mut out).await;
        drop(attached);
        // Nobody reads to the end of a garbled stream.
        drop(writer.await.expect("no panic"));
        (read.map(|_| out), words.text())
    }

    #[tokio::test]
    async fn stdout_is_whole_however_it_is_cut_and_stderr_is_kept_apart() {
        let big = vec![7; 200_000];
        let all = [piece(1, b"one"), piece(2, b"oops\n"), piece(1, b""), piece(1, &big), piece(3, b"gone")]
            .concat();
        for step in [1, 7, 8, 9, 4096, 1 << 20] {
            let (out, words) = read_in_steps(&all, step).await;
            let out = out.expect("whole");
            assert_eq!((&out[..3], out.len()), (&b"one"[..], 200_003), "in steps of {step}");
            assert_eq!(words, "oops gone");
        }
    }

    #[tokio::test]
    async fn a_garbled_head_is_an_error_and_never_data() {
        for wrong in [[9, 0, 0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0, 0, 1], *b"HTTP/1.1"] {
            let (out, _) = read_in_steps(&wrong, 64).await;
            assert_eq!(out.expect_err("garbled").kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn what_came_with_the_consent_is_not_lost_and_last_words_are_bounded() {
        let (mut engine, ours) = tokio::io::duplex(64);
        let (mut attached, words) = Attached::new(ours, &Bytes::from(piece(1, b"early")));
        let mut five = [0; 5];
        attached.read_exact(&mut five).await.expect("read");
        assert_eq!(&five, b"early");
        attached.write_all(b"in").await.expect("written");
        let mut two = [0; 2];
        engine.read_exact(&mut two).await.expect("read");
        assert_eq!(&two, b"in", "stdin has no heads");
        words.add(&[b'x'; 5000]);
        assert_eq!(words.text().len(), WORDS_MAX);
    }
}
