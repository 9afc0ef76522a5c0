//! A sandbox: a boundary and the link that leads through it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agentkernel_core::{
    BackendKind, Boundary, CauseOfDeath, Command, DuplexStream, Ended, Error, ErrorKind, Files, HostSocket,
    Posture, Process, Profile, Resize, Result, Sandbox, SandboxName, SandboxSpec, SandboxUsage, SnapshotName,
    Stopped,
};
use async_trait::async_trait;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::closed::Closed;
use crate::connect::{HelloOptions, ReadyInfo, Witness, connect_with, reconnect_with};
use crate::exec::ExecDefaults;
use crate::files::LinkedFiles;
use crate::link::Link;
use crate::table::{Table, wait_closed};
use crate::{rehearsal, socket};

/// How long the boundary may take to say why the stream has ended.
const WORD_WAIT: Duration = Duration::from_millis(100);

/// The boundary, until somebody takes it to stop it. Nothing in the background holds it for longer
/// than [`WORD_WAIT`], so that dropping the sandbox drops the boundary.
type Slot = RwLock<Option<Box<dyn Boundary>>>;

/// A boundary and the link to the guest agent in it.
///
/// When the guest breaks the protocol, the boundary is stopped at once and without being asked.
/// Operations that fail because the sandbox ended say what the boundary saw.
pub struct LinkedSandbox {
    name: SandboxName,
    backend: BackendKind,
    defaults: ExecDefaults,
    /// Whether a command may be root, whatever the guest could do.
    may_be_root: bool,
    link: Link,
    files: LinkedFiles,
    slot: Arc<Slot>,
    /// Stops the boundary when the guest breaks the protocol, and has the result.
    guard: Option<JoinHandle<Option<Result<Stopped>>>>,
}

impl LinkedSandbox {
    /// Greets the guest behind a boundary that was just made. If that fails, the boundary is stopped,
    /// and nothing is left of it when this returns.
    pub async fn attach(
        spec: &SandboxSpec,
        boundary: Box<dyn Boundary>,
        stream: Box<dyn DuplexStream>,
        hello: HelloOptions,
        defaults: ExecDefaults,
    ) -> Result<(Self, ReadyInfo)> {
        let (backend, slot) = held(boundary);
        match connect_with(stream, hello, witness(Arc::downgrade(&slot))).await {
            Ok((link, ready)) => Ok((Self::new(spec, backend, slot, link, defaults), ready)),
            Err(error) => Err(give_up(error, &slot).await),
        }
    }

    /// Greets the guest of a sandbox that has outlived its last host, and gets back that host's commands,
    /// in the order in which they were started. The stream was brought in by the guest's door, and the
    /// token is the one of the first greeting.
    ///
    /// If that fails, the boundary is dropped and not stopped: what was made to outlive its holders stays
    /// as it is, for another try. Only a guest that breaks the protocol is taken down.
    pub async fn adopt(
        spec: &SandboxSpec,
        boundary: Box<dyn Boundary>,
        stream: Box<dyn DuplexStream>,
        hello: HelloOptions,
        defaults: ExecDefaults,
    ) -> Result<(Self, ReadyInfo, Vec<Box<dyn Process>>)> {
        let (backend, slot) = held(boundary);
        match reconnect_with(stream, hello, witness(Arc::downgrade(&slot))).await {
            Ok((link, ready, commands)) => {
                Ok((Self::new(spec, backend, slot, link, defaults), ready, commands))
            }
            Err(error) if error.kind == ErrorKind::ProtocolBroken => Err(give_up(error, &slot).await),
            Err(error) => Err(let_go(error, &slot).await),
        }
    }

    fn new(
        spec: &SandboxSpec,
        backend: BackendKind,
        slot: Arc<Slot>,
        link: Link,
        defaults: ExecDefaults,
    ) -> Self {
        let guard = tokio::spawn(stop_when_broken(Arc::clone(link.table()), Arc::downgrade(&slot)));
        let files = LinkedFiles::new(link.clone(), defaults.user);
        let may_be_root = spec.profile() == Profile::Permissive;
        Self {
            name: spec.name().clone(),
            backend,
            defaults,
            may_be_root,
            link,
            files,
            slot,
            guard: Some(guard),
        }
    }

    /// The boundary, for something that is asked of it.
    async fn boundary(&self, what: &str) -> Result<RwLockReadGuard<'_, Box<dyn Boundary>>> {
        let slot = self.slot.read().await;
        RwLockReadGuard::try_map(slot, Option::as_ref).map_err(|_| self.link.gone(what))
    }

    /// The link itself.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }
}

/// Asks the boundary why the stream has ended.
fn witness(slot: Weak<Slot>) -> Witness {
    Box::pin(async move {
        let slot = slot.upgrade()?;
        let boundary = slot.read().await;
        Some(boundary.as_ref()?.ended().await)
    })
}

fn held(boundary: Box<dyn Boundary>) -> (BackendKind, Arc<Slot>) {
    (boundary.kind(), Arc::new(Slot::new(Some(boundary))))
}

/// Takes down a boundary whose guest could not be greeted, and adds what it knows to the error.
async fn give_up(mut error: Error, slot: &Slot) -> Error {
    let Some(boundary) = slot.write().await.take() else { return error };
    explain(&mut error, &*boundary).await;
    if let Err(cleanup) = boundary.stop().await {
        error.why = format!("{}; then the clean-up failed: {cleanup}", error.why);
    }
    error
}

/// Lets go of a boundary whose guest could not be greeted now, and adds what it knows to the error.
async fn let_go(mut error: Error, slot: &Slot) -> Error {
    let Some(boundary) = slot.write().await.take() else { return error };
    explain(&mut error, &*boundary).await;
    error
}

async fn explain(error: &mut Error, boundary: &dyn Boundary) {
    if error.kind == ErrorKind::Boot
        && let Ok(ended) = timeout(WORD_WAIT, boundary.ended()).await
    {
        let word = Closed::ended("").explained(&ended).why;
        error.why = format!("{}; the boundary says: {word}", error.why);
    }
}

/// A guest that breaks the protocol may have broken more: its sandbox goes at once.
async fn stop_when_broken(table: Arc<Table>, slot: Weak<Slot>) -> Option<Result<Stopped>> {
    let watch = table.watch();
    drop(table);
    if !wait_closed(watch).await.is_broken() {
        return None;
    }
    let slot = slot.upgrade()?;
    let boundary = slot.write().await.take();
    drop(slot);
    Some(crashed(boundary?.stop().await))
}

/// A sandbox that was stopped for breaking the protocol did not end because somebody asked for it.
fn crashed(stopped: Result<Stopped>) -> Result<Stopped> {
    stopped.map(|stopped| Stopped { cause: stopped.cause.or(Some(CauseOfDeath::BoundaryCrashed)), ..stopped })
}

#[async_trait]
impl Sandbox for LinkedSandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        self.backend
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        if !self.may_be_root && command.user.is_some_and(|user| user.uid == 0 || user.gid == 0) {
            let why = "root is refused in this sandbox";
            return Err(Error::new(ErrorKind::CommandRefused, "change to the command's user", why)
                .hint("make the sandbox with the profile permissive"));
        }
        self.link.exec(command, &self.defaults).await
    }

    async fn rehearse(&self) -> Result<()> {
        rehearsal::rehearse(&self.link, &self.defaults).await
    }

    fn files(&self) -> &dyn Files {
        &self.files
    }

    async fn ping(&self) -> Result<Duration> {
        self.link.ping().await
    }

    async fn posture(&self) -> Result<Posture> {
        self.boundary("read the posture").await?.posture().await
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        self.boundary("resize the sandbox").await?.resize(to).await
    }

    async fn open_socket(&self, socket: &HostSocket) -> Result<()> {
        socket::open(&self.link, socket).await
    }

    async fn pause(&self) -> Result<()> {
        self.boundary("pause the sandbox").await?.pause().await
    }

    async fn resume(&self) -> Result<()> {
        let boundary = self.boundary("resume the sandbox").await?;
        boundary.resume().await?;
        self.link.tell_the_time(&**boundary).await
    }

    async fn snapshot(&self, name: &SnapshotName, about: &str) -> Result<()> {
        const WHAT: &str = "take a snapshot of the sandbox";
        let boundary = self.boundary(WHAT).await?;
        boundary.may_snapshot(name).await?;
        let held = self.link.hold().await?;
        boundary.snapshot(name, about, &held).await
    }

    async fn persist(&self) -> Result<()> {
        self.boundary("let the sandbox outlive the program").await?.persist().await
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.boundary("change the lifetime of the sandbox").await?.set_lifetime(lifetime).await
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        self.boundary("measure the sandbox").await?.usage().await
    }

    async fn ended(&self) -> Ended {
        let by_itself = async {
            match self.slot.read().await.as_ref() {
                Some(boundary) => boundary.ended().await,
                None => std::future::pending().await, // taken because the link is broken: that says it
            }
        };
        tokio::select! {
            biased;
            ended = by_itself => ended,
            // By now the boundary was asked and has had its time.
            closed = self.link.closed() => Ended {
                cause: closed.cause.unwrap_or(CauseOfDeath::BoundaryCrashed),
                detail: closed.why,
            },
        }
    }

    async fn stop(mut self: Box<Self>) -> Result<Stopped> {
        let was_broken = self.link.closed_now().is_some_and(|closed| closed.is_broken());
        self.link.close("the sandbox was stopped");
        let taken = self.slot.write().await.take();
        match (taken, self.guard.take()) {
            (Some(boundary), _) if was_broken => crashed(boundary.stop().await),
            (Some(boundary), _) => boundary.stop().await,
            (None, Some(guard)) => guard.await.ok().flatten().unwrap_or_else(unknown),
            (None, None) => unknown(),
        }
    }
}

/// The runtime ended before the boundary was stopped; dropping it has killed everything inside.
fn unknown() -> Result<Stopped> {
    let why = "the runtime ended while it was being stopped";
    Err(Error::new(ErrorKind::Cleanup, "stop the sandbox", why))
}

impl Drop for LinkedSandbox {
    fn drop(&mut self) {
        self.link.close("the sandbox was dropped");
    }
}
