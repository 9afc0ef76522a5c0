//! A client behind a WebSocket: output goes out as it comes, input comes in, and either may wait for the other side.
//!
//! Nothing is read ahead. A client that does not read makes the command wait, and one that sends more stdin than
//! the command takes is made to wait itself; whether it is still there is then found out by pings.

use std::sync::Arc;

use agentkernel_api::{ClientMessage, CommandResult, ServerMessage, Started, StreamId};
use agentkernel_core::{OutputStream, ProcessControl, SignalTarget};
use axum::extract::ws::{Message, WebSocket};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::de::DeserializeOwned;

use super::{Client, Input, Left};
use crate::convert;
use crate::failure::{Failure, Outcome};

/// The way to the client.
pub struct Outgoing {
    sink: SplitSink<WebSocket, Message>,
}

/// The way from the client.
pub struct Incoming {
    stream: SplitStream<WebSocket>,
    /// Said before there was a command.
    early: Option<Message>,
}

/// Both ways.
pub fn split(socket: WebSocket) -> (Outgoing, Incoming) {
    let (sink, stream) = socket.split();
    (Outgoing { sink }, Incoming { stream, early: None })
}

impl Outgoing {
    /// Says something in text.
    pub async fn say(&mut self, message: &ServerMessage) -> Result<(), Left> {
        let text = serde_json::to_string(message).map_err(|why| Left::Wrong(Failure::internal(why)))?;
        self.send(Message::Text(text.into())).await
    }

    /// Says the last thing, and closes. A client that is gone misses it.
    pub async fn finish(mut self, outcome: Outcome<CommandResult>, request_id: &str) {
        let last = match outcome {
            Ok(result) => ServerMessage::Exited(Box::new(result)),
            Err(failure) => ServerMessage::Error(failure.told(request_id)),
        };
        if self.say(&last).await.is_ok() {
            drop(self.sink.close().await);
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Left> {
        self.sink.send(message).await.map_err(|_| Left::Gone)
    }
}

impl Client for Outgoing {
    async fn started(&mut self, started: Started) -> Result<(), Left> {
        self.say(&ServerMessage::Started(started)).await
    }

    async fn output(&mut self, stream: OutputStream, bytes: Bytes) -> Result<(), Left> {
        let id = match stream {
            OutputStream::Stdout => StreamId::Stdout,
            OutputStream::Stderr => StreamId::Stderr,
        };
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(id as u8);
        message.put(bytes);
        self.send(Message::Binary(message.freeze())).await
    }

    async fn tick(&mut self) -> Result<(), Left> {
        self.send(Message::Ping(Bytes::new())).await
    }
}

impl Incoming {
    /// The request, which is the first message.
    pub async fn request<T: DeserializeOwned>(&mut self) -> Result<T, Left> {
        let wrong = |why: &dyn std::fmt::Display| Left::Wrong(Failure::usage("the first message", why));
        match self.next().await? {
            Message::Text(text) => serde_json::from_str(&text).map_err(|why| wrong(&why)),
            _ => Err(wrong(&"it is not text")),
        }
    }

    /// The next message that means something.
    async fn next(&mut self) -> Result<Message, Left> {
        if let Some(early) = self.early.take() {
            return Ok(early);
        }
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Left::Gone),
                Some(Ok(message)) => return Ok(message),
            }
        }
    }

    /// Does what a message says.
    async fn obey(message: Message, control: &dyn ProcessControl) -> Result<(), Left> {
        // A command that has ended, or is lost, is noticed by whoever hears its output.
        match message {
            Message::Binary(bytes) if bytes.first() == Some(&(StreamId::Stdin as u8)) => {
                drop(control.write_stdin(bytes.slice(1..)).await);
            }
            Message::Text(text) => match parse(&text)? {
                ClientMessage::Signal(signal) => {
                    let whole = if signal.group { SignalTarget::Group } else { SignalTarget::Process };
                    drop(control.signal(signal_number(signal.number).map_err(Left::Wrong)?, whole).await);
                }
                ClientMessage::Resize(size) => drop(control.resize(convert::terminal(size)).await),
                ClientMessage::StdinEnd(true) => drop(control.close_stdin().await),
                ClientMessage::StdinEnd(false) => {}
            },
            _ => return Err(Left::Wrong(Failure::usage("a message", "its first byte names no stream"))),
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<ClientMessage, Left> {
    serde_json::from_str(text).map_err(|why| Left::Wrong(Failure::usage("a message", why)))
}

/// A signal that exists.
pub fn signal_number(number: u8) -> Outcome<u8> {
    if (1..=64).contains(&number) { Ok(number) } else { Err(Failure::usage("number", "signals are 1 to 64")) }
}

impl Input for Incoming {
    async fn leaves(&mut self) -> Left {
        if self.early.is_none() {
            match self.next().await {
                Ok(message) => self.early = Some(message),
                Err(left) => return left,
            }
        }
        // One message is kept, and no more is read: whether the client is still there is found out later.
        std::future::pending().await
    }

    async fn pass_on(&mut self, control: Arc<dyn ProcessControl>) -> Left {
        loop {
            let message = match self.next().await {
                Ok(message) => message,
                Err(left) => return left,
            };
            if let Err(left) = Self::obey(message, &*control).await {
                return left;
            }
        }
    }
}
