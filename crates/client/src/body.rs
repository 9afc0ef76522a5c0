//! Bodies that are too large to be held: they come, and go, piece by piece.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::exchange::{Body, Reply, Request, ask};
use crate::{Address, Error, Result};

/// Pieces that may wait to be sent.
const PIECES_WAITING: usize = 4;

/// Bytes that come from the daemon. Dropping it ends the transfer.
pub struct Download {
    body: Incoming,
    what: String,
}

impl Download {
    pub(crate) fn new(reply: Reply) -> Self {
        let (body, what) = reply.into_body();
        Self { body, what }
    }

    /// The next bytes, never empty; `None` at the end. An error means that the rest is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|why| Error::broken(&self.what, format!("it was cut short: {why}")))?;
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// All of it, if it is at most `max` bytes long.
    pub async fn collect(mut self, max: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > max {
                return Err(Error::broken(&self.what, format!("the reply is longer than {max} bytes")));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

/// A piece, or the word that all has been said: without it, a body that ends was cut short.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Bytes that go to the daemon. Dropping it before [`Upload::finish`] breaks the transfer off, and the daemon leaves
/// the target as it was.
pub struct Upload {
    pieces: mpsc::Sender<Piece>,
    reply: JoinHandle<Result<()>>,
}

impl Upload {
    /// Begins at once, in a task of its own.
    pub(crate) fn start(address: Address, request: Request, content_type: &'static str) -> Self {
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let request = request.stream(content_type, body(receiver));
        let reply = tokio::spawn(async move { ask(&address, request).await?.done().await });
        Self { pieces, reply }
    }

    /// Hands some bytes over; waits while the other side is busy. `false` if it takes no more: [`Upload::finish`]
    /// says why.
    pub async fn write(&self, bytes: Bytes) -> bool {
        self.pieces.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Says that this was all, and waits for the verdict.
    pub async fn finish(self) -> Result<()> {
        // If nobody takes it, the verdict is there already.
        drop(self.pieces.send(Piece::End).await);
        match self.reply.await {
            Ok(verdict) => verdict,
            Err(why) => Err(Error::broken("send the file", why)),
        }
    }
}

fn body(pieces: mpsc::Receiver<Piece>) -> Body {
    let frames = stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(Frame::data(bytes)), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the sender broke off")), None)),
        }
    });
    http_body_util::BodyExt::boxed_unsync(StreamBody::new(frames))
}
