//! The stand-in for a backend: plain processes of the host in a temporary folder, with no isolation.
//!
//! It keeps every promise of the doors that needs no boundary, so that the conformance suite can be
//! proven on it, and callers of the doors can be tested anywhere. It is exempt from limits, but for
//! memory that it was given by [`resize`](agentkernel_core::Sandbox::resize), which each later command has.

mod archive;
mod content;
mod files;
mod keeper;
mod place;
mod process;
mod sandbox;
mod streams;
mod terminal;
mod tree;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Image, Result, SandboxName,
    SandboxSpec,
};
use async_trait::async_trait;

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
}

#[async_trait]
impl Backend for FakeBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            terminal: true,
            bind_mounts: false,
            pause: false,
            adopt: false,
            own_kernel: false,
            resize: true,
        }
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
        if *spec.image() != Image::Host {
            return refuse("image", "the fake runs the host's programs only");
        }
        let begin = Instant::now();
        let name = self.names.take(spec.name())?;
        let sandbox = FakeSandbox::new(name, spec.lifetime())?;
        let boot = begin.elapsed();
        sandbox.prove_exec().await?;
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: begin.elapsed().saturating_sub(boot) })
    }
}

/// The names of the sandboxes that live.
#[derive(Debug, Clone, Default)]
struct Names {
    taken: Arc<Mutex<BTreeSet<SandboxName>>>,
}

impl Names {
    fn take(&self, name: &SandboxName) -> Result<TakenName> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.insert(name.clone()) {
            Ok(TakenName { name: name.clone(), names: self.clone() })
        } else {
            let why = "a sandbox of this name lives";
            Err(Error::new(ErrorKind::NameTaken, "start the sandbox", why).on(name))
        }
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
        self.names.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}
