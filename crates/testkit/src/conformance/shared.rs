//! A backend that hands a sandbox out again once it was cleaned: for rules of what happens inside, each of which would
//! otherwise wait for a boot that takes seconds. What is told of booting and stopping is shown by others, on sandboxes of
//! their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Command, Ended, Files, HostSocket, Posture,
    Process, Result, Sandbox, SandboxName, SandboxSpec, SandboxUsage, Stopped,
};
use async_trait::async_trait;

use crate::listen;

/// Kills all that runs, waits until it is gone, and removes every file. It says "clean" when it has.
const CLEAN: &str = "kill -9 -1 2>/dev/null; \
    while [ \"$(ls -d /proc/[0-9]*/exe 2>/dev/null | while read -r link; do readlink \"$link\"; done | wc -l)\" -gt 4 ]; \
    do kill -9 -1 2>/dev/null; done; \
    for place in /workspace /tmp /dev/shm; do chmod -R u+rwx $place 2>/dev/null; find $place -mindepth 1 -delete; done; \
    [ -z \"$(find /workspace /tmp /dev/shm -mindepth 1)\" ] && echo clean";

/// How long that may take.
const CLEAN_DEADLINE: Duration = Duration::from_secs(60);

type Spare = Arc<Mutex<Vec<Box<dyn Sandbox>>>>;

/// The groups of rules of what happens inside.
pub const INSIDE: [&str; 9] = [
    "exec.",
    "signals.",
    "streams.",
    "terminal.",
    "time.a_timeout",
    "files.",
    "folders.",
    "archives.",
    "isolation.",
];

/// Hands out what was used before, unless what is asked for has something of its own.
pub struct Shared<'a> {
    inner: &'a dyn Backend,
    spare: Spare,
}

impl<'a> Shared<'a> {
    /// Sandboxes of this backend.
    #[must_use]
    pub fn new(inner: &'a dyn Backend) -> Self {
        Self { inner, spare: Spare::default() }
    }
}

/// Whether a description is that of every other sandbox.
fn is_ordinary(spec: &SandboxSpec, of: &SandboxSpec) -> bool {
    spec.clone().with_name(of.name().clone()) == *of
}

struct Leased {
    name: SandboxName,
    /// There until it is stopped.
    sandbox: Box<dyn Sandbox>,
    spare: Spare,
}

#[async_trait]
impl Backend for Shared<'_> {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn probe(&self) -> Availability {
        self.inner.probe().await
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let plain = SandboxSpec::builder(spec.name().clone(), spec.profile())
            .image(spec.image().clone())
            .emulate(spec.emulate())
            .build()?;
        if !is_ordinary(spec, &plain) {
            return self.inner.boot(spec).await;
        }
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let booted = match spare {
            Some(sandbox) => Booted { sandbox, boot: Duration::ZERO, ready: Duration::ZERO },
            None => self.inner.boot(spec).await?,
        };
        let leased = Leased { name: spec.name().clone(), sandbox: booted.sandbox, spare: self.spare.clone() };
        Ok(Booted { sandbox: Box::new(leased), ..booted })
    }
}

#[async_trait]
impl Sandbox for Leased {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        self.sandbox.backend()
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        self.sandbox.exec(command).await
    }

    fn files(&self) -> &dyn Files {
        self.sandbox.files()
    }

    async fn ping(&self) -> Result<Duration> {
        self.sandbox.ping().await
    }

    async fn posture(&self) -> Result<Posture> {
        self.sandbox.posture().await
    }

    async fn open_socket(&self, socket: &HostSocket) -> Result<()> {
        self.sandbox.open_socket(socket).await
    }

    async fn ended(&self) -> Ended {
        self.sandbox.ended().await
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        self.sandbox.usage().await
    }

    /// One that cannot be cleaned is stopped, and another is made for the next.
    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let command = Command { timeout: Some(CLEAN_DEADLINE), ..Command::new(["sh", "-c", CLEAN]) };
        let said = listen(self.sandbox.exec(&command).await?).await?;
        if said.text() != "clean" {
            return self.sandbox.stop().await;
        }
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(self.sandbox);
        Ok(Stopped { cause: None, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}
