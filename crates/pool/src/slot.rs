//! The states of one sandbox in the pool, as types: warm, then leased or dead, and never back.
//!
//! ```text
//! boot ──▶ Slot<Warm> ──lease──▶ Slot<Leased> ──stop──▶ Slot<Dead>
//!               └──────────────stop──────────────────────▲
//! ```

use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{Backend, Booted, Resize, Result, Sandbox, SandboxSpec, Stopped};
use tokio::time::Instant;

use crate::gate::Inside;
use crate::watch::{Fate, Known, Overseen, SharedSandbox, Watch};

/// A place in a pool for one sandbox, in one state of its life.
///
/// A slot becomes warm by booting a sandbox and in no other way: nothing turns a sandbox that somebody had
/// into a warm one. What a lease gives back is dead:
///
/// ```
/// use agentkernel_core::Result;
/// use agentkernel_pool::{Dead, Leased, Slot};
///
/// async fn over(used: Slot<Leased>) -> Result<Slot<Dead>> {
///     used.stop().await
/// }
/// ```
///
/// and is not warm, whatever one does with it:
///
/// ```compile_fail,E0308
/// use agentkernel_core::Result;
/// use agentkernel_pool::{Dead, Leased, Slot, Warm};
///
/// async fn over(used: Slot<Leased>) -> Result<Slot<Warm>> {
///     used.stop().await
/// }
/// ```
///
/// A slot that is leased cannot be leased again:
///
/// ```compile_fail,E0599
/// use agentkernel_pool::{Leased, Slot};
///
/// fn again(used: Slot<Leased>) {
///     used.lease();
/// }
/// ```
///
/// nor used after its end:
///
/// ```compile_fail,E0382
/// use agentkernel_pool::{Leased, Slot};
///
/// async fn over(used: Slot<Leased>) {
///     drop(used.stop().await);
///     used.sandbox();
/// }
/// ```
#[derive(Debug)]
pub struct Slot<State> {
    state: State,
}

/// Booted and ready, and nobody has had it.
pub struct Warm {
    held: Held,
    times: BootTimes,
    size: Resize,
    /// The pool counts it until it is leased or dead.
    inside: Inside,
}

/// Given to one tenant, once.
pub struct Leased {
    held: Held,
}

/// Stopped; nothing of it is left on the host.
#[derive(Debug)]
pub struct Dead {
    stopped: Stopped,
}

/// How long a boot took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootTimes {
    /// Until the first process ran.
    pub(crate) boot: Duration,
    /// From there until exec worked.
    pub(crate) ready: Duration,
}

/// A sandbox and the watch over it, which ends first.
struct Held {
    watch: Option<Watch>,
    sandbox: SharedSandbox,
}

impl Held {
    fn into_sandbox(self) -> Box<dyn Sandbox> {
        let Self { watch, mut sandbox } = self;
        drop(watch);
        loop {
            // Nobody else has it now. If somebody had, he would be about to let go of it.
            match Arc::try_unwrap(sandbox) {
                Ok(sandbox) => return sandbox,
                Err(shared) => sandbox = shared,
            }
            std::thread::yield_now();
        }
    }
}

impl Slot<Warm> {
    /// Boots a sandbox, the only way to a warm slot. Dropping the boot leaves nothing.
    pub(crate) async fn boot(backend: &dyn Backend, spec: &SandboxSpec, inside: Inside) -> Result<Self> {
        let Booted { sandbox, boot, ready } = backend.boot(spec).await?;
        let (times, size) = (BootTimes { boot, ready }, Resize::from(spec.limits()));
        let held = Held { watch: None, sandbox: Arc::new(sandbox) };
        Ok(Self { state: Warm { held, times, size, inside } })
    }

    pub(crate) fn sandbox(&self) -> &dyn Sandbox {
        &**self.state.held.sandbox
    }

    pub(crate) fn times(&self) -> BootTimes {
        self.state.times
    }

    pub(crate) fn size(&self) -> Resize {
        self.state.size
    }

    /// Has it watched while it waits on a shelf.
    pub(crate) fn watch(&mut self, start: impl FnOnce(SharedSandbox) -> Watch) -> Overseen {
        let watch = start(Arc::clone(&self.state.held.sandbox));
        let overseen = watch.overseen();
        self.state.held.watch = Some(watch);
        overseen
    }

    /// What is known of it at this moment, for the one who takes it.
    pub(crate) fn verdict(&self, now: Instant) -> Result<Known, Fate> {
        self.state.held.watch.as_ref().map_or(Ok(Known::JUST_BOOTED), |watch| watch.verdict(now))
    }

    /// The same, if it can be told at once and there is nothing wrong.
    pub(crate) fn still(&self, now: Instant) -> Option<Known> {
        self.state.held.watch.as_ref()?.still(now)
    }

    /// Whether it has lasted until it was asked, and answered.
    pub(crate) fn has_answered(&self) -> bool {
        self.state.held.watch.as_ref().is_some_and(Watch::has_answered)
    }

    /// Gives it to a tenant.
    pub(crate) fn lease(self) -> Slot<Leased> {
        let Warm { held, .. } = self.state;
        Slot { state: Leased { held } }
    }

    /// Takes it down unused.
    pub(crate) async fn stop(self) -> Result<Slot<Dead>> {
        let Warm { held, inside, .. } = self.state;
        let stopped = held.into_sandbox().stop().await;
        drop(inside); // not before: until then something of it is left
        Ok(Slot { state: Dead { stopped: stopped? } })
    }
}

impl Slot<Leased> {
    /// The sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &dyn Sandbox {
        &**self.state.held.sandbox
    }

    /// Takes it down, and waits until nothing of it is left.
    pub async fn stop(self) -> Result<Slot<Dead>> {
        let stopped = self.into_sandbox().stop().await?;
        Ok(Slot { state: Dead { stopped } })
    }

    /// The sandbox alone, for its tenant to keep and to stop. No slot can be made of it again.
    #[must_use]
    pub fn into_sandbox(self) -> Box<dyn Sandbox> {
        self.state.held.into_sandbox()
    }
}

impl Slot<Dead> {
    /// What was seen at its end.
    #[must_use]
    pub fn stopped(&self) -> Stopped {
        self.state.stopped
    }
}
