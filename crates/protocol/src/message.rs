//! The messages, as types.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Accept, FileRequest};

/// Version of everything in this crate. Host and guest must agree on it exactly.
pub const PROTOCOL_VERSION: u32 = 4;

/// A secret of one sandbox: the guest repeats it in [`Ready`], so that an old answer, or another
/// sandbox's, is not taken for this one's. A host that comes later proves by it that it may have the
/// sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub [u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)") // a secret has no business in a log
    }
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuest {
    /// First of all.
    Hello(Hello),
    /// Run this on a new channel.
    Start(Box<Start>),
    /// Bytes for stdin.
    Stdin(Bytes),
    /// Stdin ends here.
    StdinEnd,
    /// That many bytes of that stream were taken.
    Credit(Stream, u32),
    /// Send a signal.
    Signal(Signal),
    /// The terminal's size changed.
    Resize(WindowSize),
    /// Answer with the same number.
    Ping(u64),
    /// Kill everything and exit.
    Shutdown,
    /// Let no command go on, answer [`ToHost::Held`], and say nothing more until [`ToGuest::Renew`]. Nothing else may follow
    /// before that. The machine can then be kept as it is, and continued by a host on the same stream; the agent cannot tell
    /// which of them it is.
    Hold,
    /// What the machine has of its own, a step a line, and nothing of what it held goes on before. The host that has held it
    /// goes on where it was; another one says [`ToGuest::Hello`] with a token of its own, and gets the survivors.
    Renew(String),
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToHost {
    /// First of all.
    Ready(Ready),
    /// The process runs, with this PID inside the sandbox.
    Started(u32),
    /// The process could not be started.
    Refused(Refused),
    /// Bytes of stdout, or of the terminal.
    Stdout(Bytes),
    /// Bytes of stderr.
    Stderr(Bytes),
    /// The process ended.
    Exited(Exited),
    /// That many bytes of stdin were taken.
    StdinCredit(u32),
    /// The answer to a ping.
    Pong(u64),
    /// The guest cannot go on.
    Fault(String),
    /// Nothing goes on, and this was the last of all that was said; or why it cannot be so, and all goes on.
    Held(Option<String>),
    /// Evidence that the machine is renewed.
    Renewed(String),
}

/// An output stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The host's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the host.
    pub protocol: u32,
    /// Build that the host embeds. The first host of a guest must be of its build; one that comes later
    /// need not, if it speaks the same protocol.
    pub build: String,
    /// This sandbox's secret.
    pub token: Token,
    /// File systems to mount first, in this order (micro VMs; containers come with theirs). A host that
    /// comes later finds them mounted: the guest passes over them.
    pub mounts: Vec<Mount>,
    /// Bytes that may be sent on each output stream of each survivor before the first credit.
    pub output_window: u32,
}

/// A file system that the guest mounts before it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Source, as in `mount(2)`.
    pub source: String,
    /// Where; created if missing.
    pub target: String,
    /// File system type.
    pub fstype: String,
    /// `MS_*` flags.
    pub flags: u64,
    /// File system's own options.
    pub data: String,
}

/// The guest's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// [`PROTOCOL_VERSION`] of the guest.
    pub protocol: u32,
    /// Build of the guest.
    pub build: String,
    /// The token of the hello.
    pub token: Token,
    /// When the guest's `main` began, in nanoseconds of the guest's CLOCK_MONOTONIC.
    pub started_ns: u64,
    /// When it became ready for its first host, on the same clock.
    pub ready_ns: u64,
    /// The guest's own PID: 1 where it is init.
    pub pid: u32,
    /// Highest channel that any host has opened; the next one is above it.
    pub last_channel: u32,
    /// Commands of hosts that were lost, in the order in which they were started; at most
    /// [`crate::MAX_CHANNELS`].
    pub survivors: Vec<Survivor>,
}

/// A command that outlived the host that had started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Its channel, which stays its own, and is open unless it has ended.
    pub channel: u32,
    /// Its PID inside the sandbox.
    pub pid: u32,
    /// Whether it has a terminal.
    pub has_terminal: bool,
    /// Bytes of stdin that the host may send now; `None` where stdin was never there or has ended.
    pub stdin_free: Option<u32>,
    /// Bytes of its output that were sent on lost streams and for which no credit had come. At most so
    /// many are missing; what follows them is whole.
    pub lost_bytes: u64,
    /// Its last word, if nothing more will come on its channel.
    pub ended: Option<Exited>,
}

/// Opens a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// What to run.
    pub task: Task,
    /// As whom, if not as the guest agent itself.
    pub user: Option<UserIds>,
    /// Kill the process and all its descendants after so many milliseconds.
    pub timeout_ms: Option<u64>,
    /// Bytes that may be sent on each output stream before the first credit.
    pub output_window: u32,
}

/// What runs on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// A program.
    Exec(Exec),
    /// A file operation, run by a worker of the guest agent: data on stdin and stdout, failure as a
    /// [`crate::FileError`] record on stderr with exit code 1.
    File(FileRequest),
    /// One connection to a socket of the sandbox, passed on by a worker of the guest agent: what its client sends on
    /// stdout, what it is to get on stdin, and [`crate::Passing`] records on stderr. The end of stdin is passed on to the
    /// client. The worker ends with code 0 when both directions have ended, and with 1 if one of them broke.
    Accept(Accept),
}

/// A program to run: every word is bytes and stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments. A program without a slash is looked up in PATH of `env`.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Where stdin comes from.
    pub stdin: StdinMode,
    /// Give it a terminal of this size as stdin, stdout and stderr.
    pub terminal: Option<WindowSize>,
}

/// Where a process's stdin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StdinMode {
    /// `/dev/null`.
    Null,
    /// The host's `Stdin` frames.
    Pipe,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub cols: u16,
}

/// Identity of a process inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

/// A signal to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its number, 1 to 64.
    pub number: u8,
    /// To the whole process group, not the process alone.
    pub group: bool,
}

/// Why a process did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was being done.
    pub stage: Stage,
    /// The guest kernel's errno.
    pub errno: i32,
    /// What it was done to: the program, the folder, the user.
    pub subject: String,
}

/// Steps of starting a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Pipes, terminal, fork.
    Prepare,
    /// Changing to the user.
    User,
    /// Changing to the working directory.
    WorkingDirectory,
    /// Finding the program in PATH.
    Lookup,
    /// Executing it.
    Exec,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By itself, with this code.
    Code(u8),
    /// By this signal, 1 to 64.
    Signal(u8),
}

/// The last word on a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// How.
    pub status: Status,
    /// Whether the guest killed it because its time was up.
    pub timed_out: bool,
    /// What it used, its waited-for children included.
    pub usage: Usage,
}

/// What a process used, from `wait4(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Time in user mode, microseconds.
    pub user_us: u64,
    /// Time in kernel mode, microseconds.
    pub system_us: u64,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
    /// From start to end, nanoseconds of CLOCK_MONOTONIC.
    pub wall_ns: u64,
}
