//! The standard streams of `container exec`, as one duplex stream.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use agentkernel_process::Attended;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::oneshot;

use crate::stream::LastWords;

/// The stream to the guest agent.
pub(super) struct CallStream {
    /// Where the agent hears us, until we have said all.
    input: Option<Sender>,
    output: Receiver,
    /// Who is told that the stream has ended.
    ended: Option<oneshot::Sender<()>>,
}

/// What else is known of the program whose streams they are.
pub(super) struct Call {
    pub(super) program: Attended,
    pub(super) words: LastWords,
    /// Answers once the stream has ended, and fails if we let go of it first.
    pub(super) ended: oneshot::Receiver<()>,
}

impl CallStream {
    /// Takes the streams of a program that was just started.
    pub(super) fn of(mut program: Attended) -> io::Result<(Self, Call)> {
        let missing = || io::Error::other("it has no streams");
        let input: OwnedFd = program.stdin.take().ok_or_else(missing)?.into();
        let output: OwnedFd = program.stdout.take().ok_or_else(missing)?.into();
        let words = LastWords::of(program.stderr.take().ok_or_else(missing)?);
        let (sender, ended) = oneshot::channel();
        let (input, output) = (Sender::from_owned_fd(input)?, Receiver::from_owned_fd(output)?);
        Ok((Self { input: Some(input), output, ended: Some(sender) }, Call { program, words, ended }))
    }
}

impl AsyncRead for CallStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (out.filled().len(), out.remaining());
        let read = Pin::new(&mut self.output).poll_read(context, out);
        let has_ended = match &read {
            Poll::Ready(Ok(())) => room > 0 && out.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if has_ended && let Some(ended) = self.ended.take() {
            // Nobody may want to know any more.
            ended.send(()).ok();
        }
        read
    }
}

impl AsyncWrite for CallStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agentkernel_process::Program;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_the_end_is_told_once_it_is_read() {
        let sh = Program::new(Path::new("/bin/sh")).expect("absolute");
        let program =
            sh.argument("-c").argument("cat; echo last words >&2").spawn_attended(&[]).expect("spawned");
        let (mut stream, mut call) = CallStream::of(program).expect("streams");
        let bytes = vec![7; 300_000];
        let mut back = vec![0; bytes.len()];
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let (written, read) = tokio::join!(writer.write_all(&bytes), reader.read_exact(&mut back));
        written.and(read.map(drop)).expect("passed");
        assert!(back == bytes && call.ended.try_recv().is_err(), "it goes on");
        writer.shutdown().await.expect("closed");
        assert_eq!(reader.read(&mut back).await.expect("read"), 0);
        call.ended.await.expect("told");
        assert!(call.program.wait().expect("ended").success());
        while !call.words.are_all() {
            tokio::task::yield_now().await;
        }
        assert_eq!(call.words.text(), "last words");
    }

    #[tokio::test]
    async fn letting_go_of_it_is_no_end_of_its_own() {
        let cat =
            Program::new(Path::new("/bin/cat")).expect("absolute").spawn_attended(&[]).expect("spawned");
        let (stream, call) = CallStream::of(cat).expect("streams");
        drop(stream);
        assert!(call.ended.await.is_err());
    }
}
