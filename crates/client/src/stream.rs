//! One command, heard and talked to as it runs.

use std::sync::{Arc, OnceLock};

use agentkernel_api::{
    ClientMessage, CommandResult, Error as ApiError, ServerMessage, SignalRequest, Started, StreamId,
    TerminalSize,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::exchange::REPLY_DEADLINE;
use crate::handshake::{Socket, upgrade};
use crate::path::RequestPath;
use crate::{Client, Connection, Error, Result};

/// What is done here, for messages.
const HEAR: &str = "hear the command";

/// The longest piece of stdin in one message.
const STDIN_MAX: usize = 256 << 10;

/// What was heard of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEvent {
    /// It has been executed: from here on, something of the user's has run.
    Started(Started),
    /// It said something; never empty.
    Output(StreamId, Bytes),
    /// For a person to know.
    Notice(String),
    /// It has ended. The last event.
    Exited(Box<CommandResult>),
}

/// One command. Dropping it ends the command, unless it runs in the background.
pub struct CommandStream {
    messages: SplitStream<Socket>,
    control: CommandControl,
}

/// Talks to the command while it is heard.
#[derive(Clone)]
pub struct CommandControl {
    client: Client,
    sink: Arc<Mutex<SplitSink<Socket, Message>>>,
    started: Arc<OnceLock<Started>>,
}

impl CommandStream {
    /// Asks for the stream, with the request as its first message.
    pub(crate) async fn open<T: Serialize>(
        client: &Client,
        connection: Connection,
        path: &RequestPath,
        request: Option<&T>,
    ) -> Result<Self> {
        let first = request.map(serde_json::to_vec).transpose();
        let first = first.map_err(|why| Error::broken("write the request", why))?;
        let socket = upgrade(connection.into_stream()?, &client.address, path, first).await?;
        let (sink, messages) = socket.split();
        let started = Arc::default();
        let control = CommandControl { client: client.clone(), sink: Arc::new(Mutex::new(sink)), started };
        Ok(Self { messages, control })
    }

    /// Talks to the command, from anywhere.
    #[must_use]
    pub fn control(&self) -> CommandControl {
        self.control.clone()
    }

    /// The next event. Nothing is lost if the future is dropped. The first one has a deadline; a command has not.
    pub async fn next(&mut self) -> Result<CommandEvent> {
        if self.control.started.get().is_some() {
            return self.hear().await;
        }
        let heard = timeout(REPLY_DEADLINE, self.hear()).await;
        heard.unwrap_or_else(|_| Err(Error::late("start the command", REPLY_DEADLINE)))
    }

    async fn hear(&mut self) -> Result<CommandEvent> {
        loop {
            let message = match self.messages.next().await {
                Some(Ok(message)) => message,
                Some(Err(why)) => return Err(Error::broken(HEAR, why)),
                None => return Err(Error::broken(HEAR, "the daemon closed the stream")),
            };
            if let Some(event) = read(message)? {
                if let CommandEvent::Started(started) = &event {
                    // It is said once; a daemon that says it again changes nothing.
                    drop(self.control.started.set(started.clone()));
                }
                return Ok(event);
            }
        }
    }
}

/// What a message says; `None` for what keeps the connection alive.
fn read(message: Message) -> Result<Option<CommandEvent>> {
    match message {
        Message::Binary(mut bytes) => {
            let stream =
                bytes.first().copied().and_then(StreamId::of).filter(|stream| *stream != StreamId::Stdin);
            let stream = stream.ok_or_else(|| Error::broken(HEAR, "output of a stream that nobody knows"))?;
            drop(bytes.split_to(1));
            Ok((!bytes.is_empty()).then_some(CommandEvent::Output(stream, bytes)))
        }
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(ServerMessage::Started(started)) => Ok(Some(CommandEvent::Started(started))),
            Ok(ServerMessage::Notice(notice)) => Ok(Some(CommandEvent::Notice(notice))),
            Ok(ServerMessage::Exited(result)) => Ok(Some(CommandEvent::Exited(result))),
            Ok(ServerMessage::Error(error)) => Err(refused(error)),
            Err(why) => Err(Error::broken(HEAR, why)),
        },
        Message::Close(_) => {
            Err(Error::broken(HEAR, "the daemon closed the stream before the command's end"))
        }
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

fn refused(error: ApiError) -> Error {
    Error::Refused(Box::new(error))
}

impl CommandControl {
    /// Hands bytes to stdin; waits while the command does not read.
    pub async fn write_stdin(&self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(STDIN_MAX) {
            let mut message = BytesMut::with_capacity(piece.len() + 1);
            message.put_u8(StreamId::Stdin as u8);
            message.put_slice(piece);
            self.send(Message::Binary(message.freeze())).await?;
        }
        Ok(())
    }

    /// Ends stdin.
    pub async fn end_stdin(&self) -> Result<()> {
        self.say(ClientMessage::StdinEnd(true)).await
    }

    /// Sends a signal. It overtakes a stdin that the command does not read.
    pub async fn signal(&self, request: SignalRequest) -> Result<()> {
        match (self.sink.try_lock(), self.started.get()) {
            (Err(_busy), Some(started)) => self.client.signal(&started.sandbox, started.pid, request).await,
            (Ok(mut sink), _) => send(&mut sink, text(ClientMessage::Signal(request))?).await,
            (Err(_busy), None) => self.say(ClientMessage::Signal(request)).await,
        }
    }

    /// Tells the terminal's new size.
    pub async fn resize(&self, size: TerminalSize) -> Result<()> {
        self.say(ClientMessage::Resize(size)).await
    }

    async fn say(&self, message: ClientMessage) -> Result<()> {
        self.send(text(message)?).await
    }

    async fn send(&self, message: Message) -> Result<()> {
        send(&mut *self.sink.lock().await, message).await
    }
}

fn text(message: ClientMessage) -> Result<Message> {
    let text = serde_json::to_string(&message).map_err(|why| Error::broken("write the message", why))?;
    Ok(Message::text(text))
}

async fn send(sink: &mut SplitSink<Socket, Message>, message: Message) -> Result<()> {
    sink.send(message).await.map_err(|why| Error::broken("talk to the command", why))
}
