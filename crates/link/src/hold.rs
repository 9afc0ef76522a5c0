//! A guest that holds still, so that its machine can be kept as it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentkernel_core::{Boundary, DuplexStream, Error, ErrorKind, HeldGuest, Result};
use agentkernel_protocol::{Decoder, Direction, ToGuest, ToHost, encode};
use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::link::Link;
use crate::table::guest_says;
use crate::text::printable;

const HOLD: &str = "hold the sandbox still";
const RENEW: &str = "renew the sandbox";

/// How long a guest may take to hold still: its commands may be deep in its kernel.
const HOLD_WAIT: Duration = Duration::from_secs(30);

/// How long one may take to renew itself.
const RENEW_WAIT: Duration = Duration::from_secs(30);

/// A guest that holds still until it is renewed. Dropping it before that closes the link: nobody gets a guest that is not
/// known to be itself.
pub(crate) struct Held {
    link: Link,
    is_renewed: AtomicBool,
}

impl Link {
    /// Has the guest hold still. What others ask of it meanwhile waits.
    pub(crate) async fn hold(&self) -> Result<Held> {
        if self.table().is_held.swap(true, Ordering::AcqRel) {
            let error = Error::new(ErrorKind::NotSupported, HOLD, "another snapshot of it is being taken");
            return Err(error.hint("wait for that"));
        }
        let held = Held { link: self.clone(), is_renewed: AtomicBool::new(false) };
        let word = self.table().await_word();
        self.table().outbox.hold();
        let why = match timeout(HOLD_WAIT, word).await {
            Ok(Ok(ToHost::Held(None))) => return Ok(held),
            Ok(Ok(ToHost::Held(Some(why_not)))) => {
                // It goes on as it was.
                held.is_renewed.store(true, Ordering::Release);
                return Err(Error::new(ErrorKind::NotSupported, HOLD, guest_says(&why_not)));
            }
            Ok(Ok(_)) => "it answers to what nobody has asked".to_owned(),
            Ok(Err(_)) => return Err(self.gone(HOLD)),
            Err(_) => format!("it does not within {} s", HOLD_WAIT.as_secs()),
        };
        Err(Error::new(ErrorKind::Timeout, HOLD, why))
    }

    /// Tells a guest that was paused what time it is, if its clock stood still as well.
    pub(crate) async fn tell_the_time(&self, boundary: &dyn Boundary) -> Result<()> {
        if !boundary.stops_clock() {
            return Ok(());
        }
        match self.hold().await {
            Ok(held) => boundary.set_clock(&held).await,
            // It goes on as it was, or is told with a snapshot that is being taken.
            Err(why) if why.kind == ErrorKind::NotSupported => Ok(()),
            Err(why) => Err(why),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_renewed.load(Ordering::Acquire) {
            self.link.close("it was held and not renewed");
        }
        let table = self.link.table();
        table.outbox.let_go();
        table.is_held.store(false, Ordering::Release);
    }
}

#[async_trait]
impl HeldGuest for Held {
    async fn renew(&self, steps: &str) -> Result<String> {
        let failed = |why: String| Error::new(ErrorKind::Boot, RENEW, why);
        let table = self.link.table();
        let word = table.await_word();
        table
            .outbox
            .push_to_held(&ToGuest::Renew(steps.to_owned()))
            .map_err(|why| failed(why.to_string()))?;
        match timeout(RENEW_WAIT, word).await {
            Ok(Ok(ToHost::Renewed(evidence))) => {
                self.is_renewed.store(true, Ordering::Release);
                table.outbox.let_go();
                // It waits for one word more: who it has to do with.
                self.link.ping().await?;
                Ok(evidence)
            }
            Ok(Ok(_)) => Err(failed("it answers to what nobody has asked".into())),
            Ok(Err(_)) => Err(self.link.gone(RENEW)),
            Err(_) => Err(failed(format!("it is not renewed within {} s", RENEW_WAIT.as_secs()))),
        }
    }
}

/// Renews a guest that was held, and goes on elsewhere: the first thing that it hears. Then it can be greeted by
/// [`crate::LinkedSandbox::adopt`], with a token of its own.
pub async fn renew(stream: &mut (impl DuplexStream + ?Sized), steps: &str) -> std::io::Result<String> {
    let mut frame = BytesMut::new();
    encode(0, &ToGuest::Renew(steps.to_owned()), &mut frame).map_err(std::io::Error::other)?;
    stream.write_all(&frame).await?;
    stream.flush().await?;
    match answer(stream).await? {
        ToHost::Renewed(evidence) => Ok(evidence),
        ToHost::Fault(why) => Err(std::io::Error::other(guest_says(&why))),
        other => Err(unexpected("renewed", &other)),
    }
}

/// Hears from a guest that was called again that it holds still: whoever calls it is told so, before it is renewed.
pub async fn still_held(stream: &mut (impl DuplexStream + ?Sized)) -> std::io::Result<()> {
    match answer(stream).await? {
        ToHost::Held(None) => Ok(()),
        other => Err(unexpected("called", &other)),
    }
}

/// Its next word, after which it says nothing.
async fn answer(stream: &mut (impl DuplexStream + ?Sized)) -> std::io::Result<ToHost> {
    let mut decoder = Decoder::new(Direction::ToHost);
    loop {
        if let Some(frame) = decoder.next_frame().map_err(|why| invalid(why.to_string()))? {
            let message = ToHost::try_from(frame).map_err(|why| invalid(why.to_string()))?;
            return if decoder.is_between_frames() {
                Ok(message)
            } else {
                Err(unexpected("asked once", &message))
            };
        }
        if stream.read_buf(decoder.buffer()).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn invalid(why: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

fn unexpected(when: &str, said: &ToHost) -> std::io::Error {
    invalid(format!("it says {} when it is {when}", printable(&format!("{said:?}"))))
}
