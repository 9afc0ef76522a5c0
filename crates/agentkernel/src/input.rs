//! Our stdin on its way into the sandbox.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use crate::errors::say;

/// Most bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Chunks that may wait for the command. Few: what has been read is lost to whoever reads stdin after us.
const CHUNKS_WAITING: usize = 2;

/// Reads stdin to its end in a thread of its own. Nobody waits for that thread: a read that blocks (on a
/// terminal, for ever) does not keep the program alive. stdin itself stays as it is, for it may be shared
/// with other programs, so that making it non-blocking is not for us to do.
pub fn read_stdin() -> io::Result<mpsc::Receiver<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        if let Err(why) = pass_on(&sender) {
            say(&format!("read stdin: {why}"));
        }
    })?;
    Ok(receiver)
}

fn pass_on(sender: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; CHUNK];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                    return Ok(()); // the command has ended
                }
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => wait_until_readable()?,
            // The terminal is gone.
            Err(why) if why.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => return Ok(()),
            Err(why) => return Err(why),
        }
    }
}

/// Somebody else made stdin non-blocking.
fn wait_until_readable() -> io::Result<()> {
    let stdin = io::stdin();
    poll(&mut [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)], None)?;
    Ok(())
}
