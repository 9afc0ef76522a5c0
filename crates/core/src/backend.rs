//! The outer doors: a backend, and the boundary that it boots.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    BackendKind, CauseOfDeath, HeldGuest, Image, Posture, Process, Resize, Restored, Result, Sandbox,
    SandboxSpec, SandboxUsage, SnapshotInfo, SnapshotName, Stopped, sandbox,
};

/// Whether a backend works here. The same value is what doctor prints, what choice decides on, what
/// an error quotes and what a skipped test says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Availability {
    /// It works, and these facts were found on the way, as name and value.
    Available {
        /// Facts in the order to be shown.
        facts: Vec<(String, String)>,
    },
    /// It works, but not for everything: who names it gets it, and `auto` passes it over.
    Limited {
        /// Facts in the order to be shown.
        facts: Vec<(String, String)>,
        /// What does not work in it, and why, in one sentence.
        limitation: String,
    },
    /// It does not work.
    Unavailable {
        /// What is missing, in one sentence.
        needs: String,
        /// The command or setting that provides it.
        hint: String,
    },
}

impl Availability {
    /// Whether it works.
    #[must_use]
    pub fn is_available(&self) -> bool {
        matches!(self, Self::Available { .. } | Self::Limited { .. })
    }
}

/// What a backend can do, asked before and never discovered by failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Runs Linux programs.
    pub linux_programs: bool,
    /// Runs Wasm modules, and calls their functions.
    pub wasm_modules: bool,
    /// Terminals.
    pub terminal: bool,
    /// Mounts of host folders.
    pub bind_mounts: bool,
    /// Stops time inside and goes on.
    pub pause: bool,
    /// A sandbox can outlive the program that holds it, and be got back.
    pub adopt: bool,
    /// A kernel of its own stands between guest and host.
    pub own_kernel: bool,
    /// Memory and processors of a live sandbox can be changed.
    pub resize: bool,
    /// A socket of the host can be served inside.
    pub host_socket: bool,
    /// Sandboxes in use can be kept as snapshots, and continued from them.
    pub snapshots: bool,
    /// A command can be run in a sandbox once before anybody gets it, and what it leaves stays.
    pub warm_up: bool,
}

impl Capabilities {
    /// Whether it runs what is in this image.
    #[must_use]
    pub fn runs(&self, image: &Image) -> bool {
        if matches!(image, Image::Module(_)) { self.wasm_modules } else { self.linux_programs }
    }
}

/// Makes boundaries of one kind.
///
/// It is guaranteed that `boot` either returns a sandbox in which exec works and whose posture was
/// proven, or an error and nothing left on the host. It is not guaranteed that `boot` is quick, or
/// that it works because `probe` said so a moment ago.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> BackendKind;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Whether it works here for a sandbox of this description, as far as that is known without trying: from an earlier trial
    /// on this host, or because the next boot tells as much as a trial. `None` if it must be tried.
    fn glance(&self, _spec: &SandboxSpec) -> Option<Availability> {
        None
    }
    /// What makes a sandbox of this description weaker on this host than its backend's name promises. Whoever gets one is
    /// told, whether it was named or chosen.
    fn warning(&self, _spec: &SandboxSpec) -> Option<String> {
        None
    }
    /// Whether it works here; tries, and does not only look.
    async fn probe(&self) -> Availability;
    /// Makes a sandbox.
    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted>;
    /// Gets back a sandbox that was made to this description, and that outlived whoever held it (see
    /// [`Sandbox::persist`]). One that was paused is paused. [`crate::ErrorKind::NoSuchSandbox`] if it has ended,
    /// [`crate::ErrorKind::NameTaken`] while somebody holds it.
    async fn adopt(&self, spec: &SandboxSpec) -> Result<Adopted> {
        Err(sandbox::not_supported("get the sandbox back", self.kind()).on(spec.name()))
    }
    /// The snapshots that it keeps (see [`Sandbox::snapshot`]), the oldest first.
    async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        Ok(Vec::new())
    }
    /// Makes a sandbox that continues from a snapshot: one of the description of the sandbox that it was taken of, but for
    /// its name and lifetime, and for a socket of the host. What is handed out has been renewed: its kernel draws other random
    /// numbers than every other one of the snapshot, its clock is set, and its host name, machine id and boot id are its own.
    /// [`crate::ErrorKind::NoSuchSnapshot`] if there is none.
    async fn restore(&self, _spec: &SandboxSpec, from: &SnapshotName) -> Result<Restored> {
        Err(sandbox::not_supported("continue from the snapshot", self.kind()).on(from))
    }
    /// Removes a snapshot. Sandboxes that continue from it are not concerned. [`crate::ErrorKind::NoSuchSnapshot`] if there
    /// is none.
    async fn remove_snapshot(&self, name: &SnapshotName) -> Result<()> {
        Err(sandbox::not_supported("remove the snapshot", self.kind()).on(name))
    }
}

/// A sandbox that has just come up.
pub struct Booted {
    /// It.
    pub sandbox: Box<dyn Sandbox>,
    /// Time until its first process ran.
    pub boot: Duration,
    /// Time from there until exec worked and the posture was proven.
    pub ready: Duration,
}

/// A sandbox that was got back.
pub struct Adopted {
    /// It.
    pub sandbox: Box<dyn Sandbox>,
    /// Its commands, known by their PIDs: those that run, and those that ended meanwhile. What a command wrote just
    /// when its holder was lost may be lost as well.
    pub commands: Vec<Box<dyn Process>>,
}

/// A duplex byte stream to a guest agent.
pub trait DuplexStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> DuplexStream for T {}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The one cause.
    pub cause: CauseOfDeath,
    /// What else is known, for a person.
    pub detail: String,
}

/// What holds one Linux guest, apart from its byte stream. The link turns it into a [`Sandbox`].
///
/// Dropping it kills everything inside; [`Boundary::stop`] waits until nothing is left.
#[async_trait]
pub trait Boundary: Send + Sync {
    /// Which backend made it.
    fn kind(&self) -> BackendKind;
    /// Reads the posture from the host, now.
    async fn posture(&self) -> Result<Posture>;
    /// Waits until it has ended by itself.
    async fn ended(&self) -> Ended;
    /// Changes memory and processors of the live sandbox, as [`Sandbox::resize`] promises it.
    async fn resize(&self, to: &Resize) -> Result<()> {
        Err(to.not_supported(self.kind()))
    }
    /// As [`Sandbox::pause`] promises it.
    async fn pause(&self) -> Result<()> {
        Err(sandbox::not_supported("pause the sandbox", self.kind()))
    }
    /// As [`Sandbox::resume`] promises it.
    async fn resume(&self) -> Result<()> {
        Err(sandbox::not_supported("resume the sandbox", self.kind()))
    }
    /// Whether the guest's clock stands still while it is paused: then it is told the time afterwards.
    fn stops_clock(&self) -> bool {
        false
    }
    /// Tells a guest that holds still what time it is, and lets it go on.
    async fn set_clock(&self, _guest: &dyn HeldGuest) -> Result<()> {
        Err(sandbox::not_supported("set the sandbox's clock", self.kind()))
    }
    /// As [`Sandbox::persist`] promises it.
    async fn persist(&self) -> Result<()> {
        Err(sandbox::not_supported("let the sandbox outlive the program", self.kind()))
    }
    /// As [`Sandbox::set_lifetime`] promises it.
    async fn set_lifetime(&self, _lifetime: Duration) -> Result<()> {
        Err(sandbox::not_supported("change the lifetime of the sandbox", self.kind()))
    }
    /// Whether [`Boundary::snapshot`] could keep one of this name now: asked before the guest is held still.
    async fn may_snapshot(&self, _name: &SnapshotName) -> Result<()> {
        Err(sandbox::no_snapshots(self.kind()))
    }
    /// Keeps the guest, which holds still, as [`Sandbox::snapshot`] promises it, and renews it whether it could be kept or
    /// not.
    async fn snapshot(&self, _name: &SnapshotName, _about: &str, _guest: &dyn HeldGuest) -> Result<()> {
        Err(sandbox::no_snapshots(self.kind()))
    }
    /// As [`Sandbox::usage`] promises it.
    async fn usage(&self) -> Result<SandboxUsage> {
        Err(sandbox::not_supported("measure the sandbox", self.kind()))
    }
    /// Takes everything down.
    async fn stop(self: Box<Self>) -> Result<Stopped>;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{ErrorKind, Limits, Profile};

    struct Rigid;

    #[async_trait]
    impl Boundary for Rigid {
        fn kind(&self) -> BackendKind {
            BackendKind::Fake
        }

        async fn posture(&self) -> Result<Posture> {
            Ok(Posture::default())
        }

        async fn ended(&self) -> Ended {
            std::future::pending().await
        }

        async fn stop(self: Box<Self>) -> Result<Stopped> {
            Ok(Stopped { cause: None, out_of_memory_kills: 0, memory_peak_bytes: None })
        }
    }

    #[test]
    fn a_boundary_that_says_nothing_of_it_cannot_be_resized() {
        let to = Resize::from(&Limits::of(Profile::Restrictive));
        let resized = pin!(Rigid.resize(&to)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = resized else { panic!("it was not refused: {resized:?}") };
        assert_eq!(error.kind, ErrorKind::NotSupported);
        assert_eq!(
            error.to_string(),
            "resize the sandbox to memory 512M, cpus 1: fake: limits of a live sandbox cannot be changed"
        );
    }
}
