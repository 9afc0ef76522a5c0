//! How the daemon is set up, and the one home of its limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agentkernel_api::PoolRequest;
use agentkernel_core::ByteSize;
use agentkernel_pool::PoolSettings;

use crate::state::HostMemory;

/// What the program tells the daemon.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Folder of the socket, the lock, the store and the tokens; made with mode 0700 if it is not there.
    pub home: PathBuf,
    /// Where to listen on TCP besides the socket; a loopback address. Port 0 takes any that is free.
    pub tcp: Option<SocketAddr>,
    /// Version of the program, for `/v1/info`.
    pub version: String,
    /// The most of everything.
    pub limits: Limits,
    /// The same for each backend's warm sandboxes.
    pub pool: PoolSettings,
    /// What is to be warm from the start, before anybody can ask for something else.
    pub warm: Option<PoolRequest>,
}

impl ServeSettings {
    /// The defaults, in this folder, without TCP.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>) -> Self {
        let limits = Limits::default();
        Self {
            home: home.into(),
            tcp: None,
            version: env!("CARGO_PKG_VERSION").into(),
            pool: pool(&limits),
            limits,
            warm: None,
        }
    }
}

/// Pools stop before requests are refused.
fn pool(limits: &Limits) -> PoolSettings {
    let memory_reserve = ByteSize::bytes(limits.memory_reserve.get() * 2).unwrap_or(limits.memory_reserve);
    PoolSettings { memory_left: HostMemory::left, memory_reserve, ..PoolSettings::default() }
}

/// The most that there may be of everything. What would pass a limit is refused with 429, 413 or 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sandboxes of one owner that live.
    pub sandboxes_per_owner: usize,
    /// Sandboxes of all owners that live.
    pub sandboxes_max: usize,
    /// Sandboxes that are being made, or wait for it.
    pub queue_max: usize,
    /// Memory that may be promised to all sandboxes together, in percent of the host's: few use what they may.
    pub memory_promised_percent: u64,
    /// Available memory of the host below which nothing new is begun.
    pub memory_reserve: ByteSize,
    /// Commands in one sandbox that run or are remembered.
    pub processes_per_sandbox: usize,
    /// What is remembered of the output of a sandbox's background commands.
    pub log_bytes: usize,
    /// Sandboxes that have ended and are remembered.
    pub history_max: usize,
    /// Events that a slow listener may be behind.
    pub events_max: usize,

    /// Connections on each of the socket and TCP; further ones wait to be accepted.
    pub connections_max: usize,
    /// For how long a client may take to send the head of a request, or keep an idle connection.
    pub head_deadline: Duration,
    /// For how long a client may take to send a JSON body, or the next piece of a file.
    pub body_deadline: Duration,
    /// A JSON body, and a message on a stream.
    pub body_bytes: usize,
    /// JSON bodies of all requests together, as far as they have come.
    pub body_bytes_total: usize,
    /// A file or an archive on its way in.
    pub upload_bytes: u64,
    /// What of a sandbox's request is kept: its labels, variables and mounts as JSON.
    pub request_bytes: usize,

    /// Output of one command that is kept for a buffered reply, and its default.
    pub output_bytes: u64,
    /// The same of all buffered replies together.
    pub output_bytes_total: usize,
    /// How long a command whose kept output grows may wait for room among these; then it is ended.
    pub output_wait: Duration,
    /// Output of one command on a stream, unless the request says otherwise.
    pub stream_bytes: u64,
    /// How often a stream is checked for a client that has vanished without a word.
    pub ping_interval: Duration,

    /// How long it may take to pause, resume or get back a sandbox.
    pub change_deadline: Duration,
    /// How long it may take to stop one.
    pub stop_deadline: Duration,
    /// How long commands may go on when the daemon is drained.
    pub drain_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sandboxes_per_owner: 512,
            sandboxes_max: 2048,
            queue_max: 512,
            memory_promised_percent: 1000,
            memory_reserve: ByteSize::mib(256),
            processes_per_sandbox: 256,
            log_bytes: 1 << 20,
            history_max: 10_000,
            events_max: 1024,
            connections_max: 12_000,
            head_deadline: Duration::from_secs(60),
            body_deadline: Duration::from_secs(30),
            body_bytes: 1 << 20,
            body_bytes_total: 64 << 20,
            upload_bytes: 16 << 30,
            request_bytes: 64 << 10,
            output_bytes: 16 << 20,
            output_bytes_total: 256 << 20,
            output_wait: Duration::from_secs(10),
            stream_bytes: 64 << 20,
            ping_interval: Duration::from_secs(5),
            change_deadline: Duration::from_secs(10),
            stop_deadline: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(30),
        }
    }
}
