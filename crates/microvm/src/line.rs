//! The way to a machine's agent, where it may have to be laid anew.
//!
//! Firecracker ends its guest's calls when it writes a snapshot, of the machine that goes on as well. Nothing is under way
//! then, for the agent holds still and has said so; so whoever reads and writes here is made to wait until the agent has been
//! called again, and hears of nothing else.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// One that can be laid anew. Whoever has it reads and writes; whoever has its [`Exchange`] decides.
#[derive(Debug)]
pub(crate) struct Line(Arc<Mutex<Wire>>);

/// The other end's: interrupts the line, and gives it another stream.
#[derive(Debug)]
pub(crate) struct Exchange(Arc<Mutex<Wire>>);

/// The line is interrupted until this is dropped, with another stream or the one that it had.
#[derive(Debug)]
pub(crate) struct Interruption<'a>(&'a Exchange);

#[derive(Debug)]
struct Wire {
    /// Nothing once it was hung up.
    stream: Option<UnixStream>,
    is_interrupted: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A line over this stream, and what it can be interrupted by.
pub(crate) fn lay(stream: UnixStream) -> (Line, Exchange) {
    let wire = Wire { stream: Some(stream), is_interrupted: false, reader: None, writer: None };
    let wire = Arc::new(Mutex::new(wire));
    (Line(Arc::clone(&wire)), Exchange(wire))
}

impl Exchange {
    /// From now on nothing is read or written.
    pub(crate) fn interrupt(&self) -> Interruption<'_> {
        lock(&self.0).is_interrupted = true;
        Interruption(self)
    }
}

impl Interruption<'_> {
    /// Closes the stream that there was.
    pub(crate) fn hang_up(&mut self) {
        lock(&self.0.0).stream = None;
    }

    /// Goes on over another stream.
    pub(crate) fn connect(self, stream: UnixStream) {
        lock(&self.0.0).stream = Some(stream);
    }
}

impl Drop for Interruption<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut wire = lock(&self.0.0);
            wire.is_interrupted = false;
            [wire.reader.take(), wire.writer.take()]
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    // Nothing that is done under the lock can panic halfway.
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Does it, unless it has to wait or there is nothing to do it with.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        place: fn(&mut Self) -> &mut Option<Waker>,
        done: impl FnOnce(Pin<&mut UnixStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if !self.is_interrupted {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            if let Poll::Ready(done) = done(Pin::new(stream), context) {
                return Poll::Ready(done);
            }
        }
        // Whoever waits on a stream is not told that there is another one.
        let place = place(self);
        if !place.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *place = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn reader(&mut self) -> &mut Option<Waker> {
        &mut self.reader
    }

    fn writer(&mut self) -> &mut Option<Waker> {
        &mut self.writer
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll(context, Wire::reader, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll(context, Wire::writer, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll(context, Wire::writer, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll(context, Wire::writer, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("made")
    }

    #[tokio::test]
    async fn who_reads_hears_nothing_of_a_stream_that_is_exchanged() {
        let ((near, mut far), (other_near, mut other_far)) = (pair(), pair());
        let (mut line, exchange) = lay(near);
        far.write_all(b"a").await.expect("written");
        assert_eq!(line.read_u8().await.expect("read"), b'a');
        let reading = tokio::spawn(async move { (line.read_u8().await, line) });
        tokio::task::yield_now().await;
        let mut interruption = exchange.interrupt();
        drop(far); // the end of that stream, which is not the line's
        interruption.hang_up();
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        interruption.connect(other_near);
        other_far.write_all(b"b").await.expect("written");
        let (read, mut line) =
            timeout(Duration::from_secs(10), reading).await.expect("woken").expect("no panic");
        assert_eq!(read.expect("read"), b'b');
        line.write_all(b"c").await.expect("written");
        assert_eq!(other_far.read_u8().await.expect("read"), b'c');
        drop(other_far);
        assert!(line.read_u8().await.is_err(), "the end of its own");
    }

    #[tokio::test]
    async fn one_that_was_hung_up_and_not_laid_anew_is_over() {
        let (near, _far) = pair();
        let (mut line, exchange) = lay(near);
        exchange.interrupt().hang_up();
        assert!(line.read_u8().await.is_err() && line.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn who_writes_waits_until_it_goes_on_and_an_exchange_that_fails_changes_nothing() {
        let (near, mut far) = pair();
        let (mut line, exchange) = lay(near);
        let interruption = exchange.interrupt();
        let writing = tokio::spawn(async move { line.write_all(b"late").await.map(|()| line) });
        assert!(timeout(Duration::from_millis(20), far.read_u8()).await.is_err(), "nothing passes");
        drop(interruption);
        let _line = writing.await.expect("no panic").expect("written");
        let mut said = [0; 4];
        far.read_exact(&mut said).await.expect("read");
        assert_eq!(&said, b"late");
    }
}
