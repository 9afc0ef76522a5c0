//! The stand-in for a backend: plain processes of the host in a temporary folder, with no isolation.
//!
//! It keeps every promise of the doors that needs no boundary, so that the conformance suite can be
//! proven on it, and callers of the doors can be tested anywhere. It is exempt from limits, but for
//! memory that it was given by [`resize`](agentkernel_core::Sandbox::resize), which each later command has.
//!
//! What happens to real sandboxes from outside can be made to happen to the fake's: [`FakeBackend::end`] ends one by
//! itself, and [`FakeBackend::lose_holder`] is the death of the program that holds them, without the death of the test.

mod archive;
mod content;
mod files;
mod house;
mod keeper;
mod kept;
mod place;
mod process;
mod sandbox;
mod streams;
mod terminal;
mod tree;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use agentkernel_core::{
    Adopted, Availability, Backend, BackendKind, Booted, Capabilities, CauseOfDeath, Error, ErrorKind, Image,
    Restored, Result, SandboxName, SandboxSpec, SnapshotInfo, SnapshotName, warm_up,
};
use async_trait::async_trait;

use house::House;
use kept::Kept;
use sandbox::FakeSandbox;

/// Makes sandboxes that are none. Names are taken for as long as their sandboxes live.
#[derive(Debug, Default)]
pub struct FakeBackend {
    names: Names,
}

impl FakeBackend {
    /// A backend without sandboxes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends a sandbox by itself, for this cause. Blocks until nothing of it is left.
    pub fn end(&self, name: &SandboxName, cause: CauseOfDeath) {
        if let Some(house) = self.names.house(name) {
            house.tear_down(cause);
        }
    }

    /// From now on it is as if whoever holds the sandboxes had been killed: what is dropped lives on if it was made to,
    /// until it is got back or this backend is dropped, too.
    pub fn lose_holder(&self) {
        for house in self.names.houses() {
            house.lose_holder();
        }
    }

    /// Names of the sandboxes that live.
    #[must_use]
    pub fn living(&self) -> Vec<SandboxName> {
        self.names.taken().keys().cloned().collect()
    }
}

impl Drop for FakeBackend {
    fn drop(&mut self) {
        for house in self.names.houses().iter().filter(|house| house.is_left()) {
            house.tear_down(CauseOfDeath::Killed);
        }
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            wasm_modules: false,
            terminal: true,
            bind_mounts: false,
            pause: true,
            adopt: true,
            own_kernel: false,
            resize: true,
            host_socket: false,
            snapshots: true,
            warm_up: true,
        }
    }

    fn warning(&self, _spec: &SandboxSpec) -> Option<String> {
        Some("it isolates nothing".into())
    }

    async fn probe(&self) -> Availability {
        Availability::Available { facts: vec![("isolation".into(), "none".into())] }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let refuse = |control: &str, why: &str| {
            Err(Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(control))
        };
        if !spec.mounts().is_empty() {
            return refuse("mounts", "the fake shares the host's file system");
        }
        if spec.host_socket().is_some() {
            return refuse("unix socket", "the fake has no guest agent to serve it");
        }
        if *spec.image() != Image::Host {
            return refuse("image", "the fake runs the host's programs only");
        }
        let begin = Instant::now();
        let name = self.names.take(spec.name())?;
        let sandbox = FakeSandbox::new(name, spec.lifetime())?;
        self.names.settle(sandbox.house());
        let boot = begin.elapsed();
        sandbox.prove_exec().await?;
        warm_up(&sandbox, spec).await?;
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: begin.elapsed().saturating_sub(boot) })
    }

    async fn adopt(&self, spec: &SandboxSpec) -> Result<Adopted> {
        let ended = || {
            let why = "it has ended, or was not made to outlive its holder";
            Error::new(ErrorKind::NoSuchSandbox, "get the sandbox back", why).on(spec.name())
        };
        let house = self.names.house(spec.name()).ok_or_else(ended)?;
        if !house.is_left() {
            let error = Error::new(ErrorKind::NameTaken, "get the sandbox back", "somebody holds it");
            return Err(error.on(spec.name()));
        }
        let commands = house.take_back();
        let sandbox = Box::new(FakeSandbox::of(house));
        let commands = commands.into_iter().map(|left| Ok(Box::new(left.take_back()?) as Box<_>));
        Ok(Adopted { sandbox, commands: commands.collect::<Result<_>>()? })
    }

    async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        Ok(self.names.kept.list())
    }

    async fn restore(&self, spec: &SandboxSpec, from: &SnapshotName) -> Result<Restored> {
        restored(self, spec, from).await
    }

    async fn remove_snapshot(&self, name: &SnapshotName) -> Result<()> {
        self.names.kept.remove(name)
    }
}

/// Boots one and fills it with what was kept.
async fn restored(backend: &FakeBackend, spec: &SandboxSpec, from: &SnapshotName) -> Result<Restored> {
    let began = Instant::now();
    // First: a sandbox of nothing is none.
    backend.names.kept.check(from)?;
    let sandbox = backend.boot(spec).await?.sandbox;
    let house = backend.names.house(spec.name());
    let workspace = house.and_then(|house| house.workspace().ok());
    let filled = workspace.map_or(Ok(()), |workspace| backend.names.kept.fill(from, &workspace));
    filled?;
    let evidence = kept::evidence();
    Ok(Restored { sandbox, commands: Vec::new(), evidence, ready: began.elapsed() })
}

/// The sandboxes that live, by name; `None` is one that is being made.
type Taken = BTreeMap<SandboxName, Option<Arc<House>>>;

/// The names of the sandboxes that live.
#[derive(Debug, Clone, Default)]
struct Names {
    taken: Arc<Mutex<Taken>>,
    kept: Arc<Kept>,
}

impl Names {
    fn take(&self, name: &SandboxName) -> Result<TakenName> {
        let mut taken = self.taken();
        if taken.contains_key(name) {
            let why = "a sandbox of this name lives";
            return Err(Error::new(ErrorKind::NameTaken, "start the sandbox", why).on(name));
        }
        taken.insert(name.clone(), None);
        Ok(TakenName { name: name.clone(), names: self.clone() })
    }

    /// The sandbox of a name that was taken.
    fn settle(&self, house: &Arc<House>) {
        self.taken().insert(house.name().clone(), Some(house.clone()));
    }

    fn house(&self, name: &SandboxName) -> Option<Arc<House>> {
        self.taken().get(name).cloned().flatten()
    }

    fn houses(&self) -> Vec<Arc<House>> {
        self.taken().values().flatten().cloned().collect()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is free again when this value is dropped.
#[derive(Debug)]
struct TakenName {
    name: SandboxName,
    names: Names,
}

impl Drop for TakenName {
    fn drop(&mut self) {
        // The lock is free again before the house is dropped.
        let house = self.names.taken().remove(&self.name);
        drop(house);
    }
}
