//! Between a thread that reads or writes files and the async side: pieces in a channel.

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// Pieces that may wait.
const PIECES_WAITING: usize = 4;
/// The longest piece.
const PIECE_MAX: usize = 128 << 10;

/// What a thread writes, as pieces.
pub struct PieceWriter {
    pieces: mpsc::Sender<Bytes>,
    waiting: Vec<u8>,
}

/// The way out of a thread.
pub fn writer() -> (PieceWriter, mpsc::Receiver<Bytes>) {
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
    (PieceWriter { pieces, waiting: Vec::with_capacity(PIECE_MAX) }, receiver)
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE_MAX - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..length]);
        if self.waiting.len() == PIECE_MAX {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.waiting, Vec::with_capacity(PIECE_MAX));
        self.pieces.blocking_send(piece.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// What a thread reads; that the channel closes without the word that all was said is an error.
pub struct PieceReader {
    pieces: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    is_over: bool,
}

/// The way into a thread. `None` says that all was said.
pub fn reader() -> (mpsc::Sender<Option<Bytes>>, PieceReader) {
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    (sender, PieceReader { pieces, current: Bytes::new(), is_over: false })
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.is_over {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.current = piece,
                Some(None) => self.is_over = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut short")),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_whatever_their_number() {
        let (mut writer, mut pieces) = writer();
        let bytes: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let expected = bytes.clone();
        let thread = std::thread::spawn(move || writer.write_all(&bytes).and_then(|()| writer.flush()));
        let (sender, mut reader) = reader();
        let forward = std::thread::spawn(move || {
            while let Some(piece) = pieces.blocking_recv() {
                sender.blocking_send(Some(piece)).expect("it is read");
            }
            sender.blocking_send(None).expect("it is read");
        });
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("complete");
        assert!(read == expected);
        thread.join().expect("no panic").expect("written");
        forward.join().expect("no panic");
    }

    #[test]
    fn what_is_cut_short_is_no_end() {
        let (sender, mut reader) = reader();
        sender.blocking_send(Some(Bytes::from_static(b"x"))).expect("it is read");
        drop(sender);
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
