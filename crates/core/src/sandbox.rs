//! The doors that callers hold: a sandbox and a process in it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    BackendKind, Call, CauseOfDeath, Command, Ended, Error, ErrorKind, Exited, Files, HostSocket, Posture,
    Resize, Result, Returned, SandboxName, SnapshotName, TerminalSize,
};

/// A live sandbox.
///
/// It is guaranteed that
/// - many commands and file operations may run at once, and none delays another;
/// - output arrives byte for byte and in order for each stream;
/// - dropping the value kills everything inside, and [`Sandbox::stop`] waits until nothing is left.
///
/// It is not guaranteed that stdout and stderr of one command interleave as they were written.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Its name on this host.
    fn name(&self) -> &SandboxName;

    /// What holds it.
    fn backend(&self) -> BackendKind;

    /// Starts a command. Returns when the program has been executed, or says why it was not.
    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>>;

    /// Calls a function of its module, in an instance of its own that nobody has used and nobody will use again, and
    /// returns what the function returned. Refused as [`crate::ErrorKind::NotSupported`] by a backend without
    /// [`crate::Capabilities::wasm_modules`].
    async fn call(&self, _call: &Call) -> Result<Returned> {
        Err(not_supported("call the function", self.backend()).hint("name a Wasm module, and --backend wasm"))
    }

    /// Lets a sandbox that waits to be used do once what every command has to do, so that the first one need not do it
    /// for the first time. Nothing that a command could trip over is left of it: no process, no file. Only for a sandbox in
    /// which nobody has run anything; does nothing where it would not help.
    async fn rehearse(&self) -> Result<()> {
        Ok(())
    }

    /// Its file operations.
    fn files(&self) -> &dyn Files;

    /// One round trip to the guest agent.
    async fn ping(&self) -> Result<Duration>;

    /// Reads the posture of the live sandbox from the host, now.
    async fn posture(&self) -> Result<Posture>;

    /// Changes its memory and its processors while it lives.
    ///
    /// Once it has returned, the new limits hold for every command that is started from here on, and the
    /// posture expects them. After an error nothing is known of the limits. Refused as
    /// [`crate::ErrorKind::NotSupported`] by a backend without [`crate::Capabilities::resize`].
    async fn resize(&self, to: &Resize) -> Result<()> {
        Err(to.not_supported(self.backend()))
    }

    /// Serves a socket of the host inside, from the moment that it returns until the sandbox ends. One that is there
    /// already is served by the newer order. Refused as [`crate::ErrorKind::NotSupported`] where there is no guest agent.
    async fn open_socket(&self, _socket: &HostSocket) -> Result<()> {
        Err(not_supported("serve a socket of the host", self.backend()))
    }

    /// Waits until the sandbox has ended by itself, and says how.
    async fn ended(&self) -> Ended;

    /// Stops time for everything inside. Whatever is asked of the sandbox meanwhile waits for
    /// [`Sandbox::resume`], but for [`Sandbox::stop`]. Refused as [`crate::ErrorKind::NotSupported`] by a backend
    /// without [`crate::Capabilities::pause`].
    async fn pause(&self) -> Result<()> {
        Err(not_supported("pause the sandbox", self.backend()))
    }

    /// Lets time go on. It is no error that it did.
    async fn resume(&self) -> Result<()> {
        Err(not_supported("resume the sandbox", self.backend()))
    }

    /// Lets the sandbox outlive this value and this program: from now on only [`Sandbox::stop`] and its own
    /// lifetime end it, and [`crate::Backend::adopt`] gets it back. Refused as [`crate::ErrorKind::NotSupported`] by a
    /// backend without [`crate::Capabilities::adopt`].
    async fn persist(&self) -> Result<()> {
        Err(not_supported("let the sandbox outlive the program", self.backend()))
    }

    /// Keeps it as it is, memory and running commands included, under this name, which must be free; `about` is kept beside
    /// it. Nothing inside goes on meanwhile. Afterwards it goes on here, and [`crate::Backend::restore`] makes others that go
    /// on from there. Refused as [`crate::ErrorKind::NotSupported`] by a backend without
    /// [`crate::Capabilities::snapshots`].
    ///
    /// Giving up this wait ends the sandbox: nobody gets one that is held still.
    async fn snapshot(&self, _name: &SnapshotName, _about: &str) -> Result<()> {
        Err(no_snapshots(self.backend()))
    }

    /// Gives it so much time from now on, instead of the lifetime of its description.
    async fn set_lifetime(&self, _lifetime: Duration) -> Result<()> {
        Err(not_supported("change the lifetime of the sandbox", self.backend()))
    }

    /// What it uses now, as the host counts it.
    async fn usage(&self) -> Result<SandboxUsage> {
        Err(not_supported("measure the sandbox", self.backend()))
    }

    /// Takes everything down and waits until nothing is left on the host.
    async fn stop(self: Box<Self>) -> Result<Stopped>;
}

/// How a door refuses what its backend cannot do anywhere.
pub(crate) fn not_supported(what: &str, backend: BackendKind) -> Error {
    Error::new(ErrorKind::NotSupported, what, "this backend cannot do that").on(backend)
}

/// How a door refuses to keep a snapshot.
pub(crate) fn no_snapshots(backend: BackendKind) -> Error {
    not_supported("take a snapshot of the sandbox", backend)
        .hint("sandboxes of backend qemu can be kept: agentkernel create --backend qemu")
}

/// What a sandbox uses; a figure that the host cannot tell is `None`, never zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SandboxUsage {
    /// Memory now, bytes.
    pub memory_bytes: Option<u64>,
    /// Most memory at once, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time since it was made.
    pub cpu: Option<Duration>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// What was seen when a sandbox was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// A cause that the boundary saw before it was asked to stop (out of memory, a crash), else `None`.
    pub cause: Option<CauseOfDeath>,
    /// Processes that the kernel killed inside for want of memory.
    pub out_of_memory_kills: u64,
    /// Most memory used at once, in bytes, where the boundary can tell.
    pub memory_peak_bytes: Option<u64>,
}

/// An output stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a running command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// Bytes of an output stream, never empty.
    Output(OutputStream, Bytes),
    /// The end; nothing follows.
    Exited(Exited),
}

/// A running command. Dropping it kills it.
#[async_trait]
pub trait Process: Send {
    /// Its PID inside the sandbox.
    fn pid(&self) -> u32;

    /// The next event. Output that is not taken stops the command once its window is full, and
    /// nobody else. After [`ProcessEvent::Exited`] it is an error to ask again.
    async fn next(&mut self) -> Result<ProcessEvent>;

    /// A handle for stdin, signals and size, usable while another task waits in [`Process::next`].
    fn control(&self) -> Arc<dyn ProcessControl>;

    /// Bytes of its output that may be missing before what [`Process::next`] yields, because they were on
    /// their way to a holder that was lost: never fewer than are missing, and all that follows is whole.
    /// 0 for a command that was not got back by [`crate::Backend::adopt`].
    fn lost_bytes(&self) -> u64 {
        0
    }
}

/// Whom a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalTarget {
    /// The command's first process.
    Process,
    /// Its whole process group.
    Group,
}

/// Talks to a running command. What is said after its end is ignored.
#[async_trait]
pub trait ProcessControl: Send + Sync {
    /// Hands bytes to stdin; waits while the command is not reading.
    async fn write_stdin(&self, bytes: Bytes) -> Result<()>;
    /// Ends stdin.
    async fn close_stdin(&self) -> Result<()>;
    /// Sends a signal, 1 to 64.
    async fn signal(&self, number: u8, target: SignalTarget) -> Result<()>;
    /// Tells the terminal's new size.
    async fn resize(&self, size: TerminalSize) -> Result<()>;
}
