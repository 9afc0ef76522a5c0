//! Messages on a stream; the crate's documentation says when which is sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CommandResult, Error, Origin, SignalRequest, TerminalSize};

/// The first byte of a binary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StreamId {
    /// From the client: standard input.
    Stdin = 0,
    /// From the server: standard output, or the terminal.
    Stdout = 1,
    /// From the server: standard error.
    Stderr = 2,
}

impl StreamId {
    /// The stream of this byte.
    #[must_use]
    pub fn of(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr].into_iter().find(|id| *id as u8 == byte)
    }
}

/// What a client says in text after its request: an object with exactly one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Send the command a signal.
    Signal(SignalRequest),
    /// The terminal has a new size.
    Resize(TerminalSize),
    /// `true`: nothing more will come on stdin.
    StdinEnd(bool),
}

/// What the server says in text: an object with exactly one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerMessage {
    /// The command has been executed. Before this nothing of the user's has run; after it, something has.
    Started(Started),
    /// For a person to know, as it happens: that output was skipped.
    Notice(String),
    /// The command has ended. The last message.
    Exited(Box<CommandResult>),
    /// It could not be run, or its end was not seen. The last message.
    Error(Error),
}

/// A command that has been executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// In which sandbox.
    pub sandbox: String,
    /// Its PID inside.
    pub pid: u32,
    /// Of a run: where the sandbox came from.
    pub origin: Option<Origin>,
    /// Of a run: what makes the sandbox weaker than its backend's name promises.
    #[serde(default)]
    pub warning: Option<String>,
}
