//! A command to run in a sandbox, and how it ended.

use std::fmt;
use std::time::Duration;

/// A command: every word is bytes and reaches the program unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments; never empty when it reaches a backend.
    pub argv: Vec<Vec<u8>>,
    /// Variables on top of the sandbox's PATH, HOME and TERM.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Working directory; `None` is the sandbox's workspace.
    pub cwd: Option<Vec<u8>>,
    /// As whom; `None` is the sandbox's own user.
    pub user: Option<CommandUser>,
    /// Where stdin comes from.
    pub stdin: Stdin,
    /// Give it a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// Kill it with all its descendants after this time.
    pub timeout: Option<Duration>,
}

impl Command {
    /// A command with nothing but its words.
    pub fn new<W: Into<Vec<u8>>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            user: None,
            stdin: Stdin::Null,
            terminal: None,
            timeout: None,
        }
    }

    /// The program's name, for messages.
    #[must_use]
    pub fn program(&self) -> String {
        self.argv.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
    }
}

/// Identity of a command inside the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandUser {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

/// Where a command's stdin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: end of file at once.
    Null,
    /// [`crate::ProcessControl::write_stdin`].
    Pipe,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub cols: u16,
}

/// How a command ended, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

impl ExitStatus {
    /// The code by a shell's convention: the code itself, or 128 + signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }

    /// Whether it was exit code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
        }
    }
}

/// The last word on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exited {
    /// How it ended.
    pub status: ExitStatus,
    /// Whether it was killed because its time was up.
    pub timed_out: bool,
    /// What it used.
    pub usage: Usage,
}

/// What a command used, its waited-for children included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time in user mode.
    pub user: Duration,
    /// Time in kernel mode.
    pub system: Duration,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
    /// From start to end, on the guest's clock.
    pub wall: Duration,
}
