//! What the background commands of a sandbox said, as far as it is remembered.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentkernel_core::OutputStream;
use bytes::Bytes;
use tokio::sync::watch;

/// What a piece costs apart from its bytes, so that a million tiny ones have a limit, too.
const PIECE_COST: usize = 96;

/// How much is read at once.
const PAGE_BYTES: usize = 256 << 10;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of which command.
    pub pid: u32,
    /// Of which stream.
    pub stream: OutputStream,
    /// It.
    pub bytes: Bytes,
}

/// A ring of pieces: the oldest go first. Writing never waits, so that a command that nobody listens to runs on.
pub struct Log {
    /// Held for as long as it takes to move some pointers.
    ring: Mutex<Ring>,
    /// The number of the next piece.
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    pieces: VecDeque<Piece>,
    /// Number of the first piece.
    first: u64,
    cost: usize,
    cost_max: usize,
}

/// What a reader gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Pieces that were forgotten before he came.
    pub skipped: u64,
    /// The next ones; none if there are none yet.
    pub pieces: Vec<Piece>,
    /// Where to go on.
    pub next: u64,
}

impl Log {
    /// Remembers so many bytes.
    pub fn new(cost_max: usize) -> Self {
        let ring = Ring { cost_max, ..Ring::default() };
        Self { ring: Mutex::new(ring), next: watch::channel(0).0 }
    }

    /// Adds a piece.
    pub fn push(&self, piece: Piece) {
        let next = {
            let mut ring = self.ring();
            ring.cost += cost(&piece);
            ring.pieces.push_back(piece);
            while ring.cost > ring.cost_max
                && let Some(oldest) = ring.pieces.pop_front()
            {
                ring.cost -= cost(&oldest);
                ring.first += 1;
            }
            ring.first + ring.pieces.len() as u64
        };
        self.next.send_replace(next);
    }

    /// What came from this number on.
    pub fn read(&self, from: u64) -> Page {
        let ring = self.ring();
        let begin = from.max(ring.first);
        let mut page = Page { skipped: begin - from, pieces: Vec::new(), next: begin };
        let mut bytes = 0;
        let index = usize::try_from(begin - ring.first).unwrap_or(usize::MAX);
        for piece in ring.pieces.iter().skip(index) {
            if bytes >= PAGE_BYTES {
                break;
            }
            bytes += cost(piece);
            page.pieces.push(piece.clone());
            page.next += 1;
        }
        page
    }

    /// Waits until there is something from this number on.
    pub async fn grown(&self, from: u64) {
        // The sender is part of `self` and cannot be gone.
        drop(self.next.subscribe().wait_for(|next| *next > from).await);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(piece: &Piece) -> usize {
    piece.bytes.len() + PIECE_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8]) -> Piece {
        Piece { pid: 1, stream: OutputStream::Stdout, bytes: Bytes::copy_from_slice(bytes) }
    }

    #[test]
    fn the_oldest_pieces_go_first_and_the_reader_is_told_how_many() {
        let log = Log::new(3 * (PIECE_COST + 1));
        for byte in *b"abcde" {
            log.push(piece(&[byte]));
        }
        let page = log.read(0);
        assert_eq!((page.skipped, page.next), (2, 5));
        assert_eq!(page.pieces, [piece(b"c"), piece(b"d"), piece(b"e")]);
        assert_eq!(log.read(5), Page { next: 5, ..Page::default() });
    }

    #[test]
    fn a_flood_of_tiny_or_huge_pieces_stays_within_the_limit() {
        let log = Log::new(64 << 10);
        for _ in 0..100_000 {
            log.push(piece(b"x"));
        }
        log.push(piece(&vec![0; 1 << 20]));
        let ring = log.ring();
        assert!(ring.cost <= 64 << 10 && ring.pieces.is_empty());
    }

    #[tokio::test]
    async fn a_reader_is_woken_by_the_next_piece() {
        let log = Log::new(1 << 10);
        let grown = log.grown(0);
        log.push(piece(b"a"));
        grown.await;
        assert_eq!(log.read(0).pieces.len(), 1);
    }
}
