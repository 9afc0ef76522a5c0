//! What a tenant gets.

use std::fmt;
use std::time::Duration;

use agentkernel_core::{Phases, Result, Sandbox, Stopped};

use crate::key::NotPoolable;
use crate::slot::{Leased, Slot};

/// The right to use one sandbox, given once to one tenant. Dropping it kills the sandbox.
#[must_use = "a lease that is dropped kills its sandbox"]
pub struct Lease {
    slot: Slot<Leased>,
    /// Where the sandbox comes from.
    pub origin: Origin,
    /// How long it took to get it: acquire for a warm one; queue, boot and ready for a cold one.
    pub phases: Phases,
}

/// Where a leased sandbox comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was ready before anybody asked.
    Warm {
        /// For how long.
        age: Duration,
    },
    /// It was booted for this tenant.
    Cold {
        /// Why.
        why: Cold,
    },
}

/// Why a sandbox had to be booted for its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cold {
    /// Sandboxes like this are not kept warm.
    NotPoolable(NotPoolable),
    /// Nobody had asked for one like this before, or not for long.
    New,
    /// All that were warm are leased.
    Empty,
    /// The one that was warm did not answer, or could not be resized.
    Unfit,
    /// Refills fail.
    CircuitOpen,
    /// There are as many keys as there may be, and each was set.
    NoShelf,
}

impl Lease {
    pub(crate) fn new(slot: Slot<Leased>, origin: Origin, phases: Phases) -> Self {
        Self { slot, origin, phases }
    }

    /// The sandbox. Its name is its own: a warm one was named before it was asked for.
    #[must_use]
    pub fn sandbox(&self) -> &dyn Sandbox {
        self.slot.sandbox()
    }

    /// The sandbox alone, for the tenant to keep and to stop. It never comes back to the pool.
    #[must_use]
    pub fn into_sandbox(self) -> Box<dyn Sandbox> {
        self.slot.into_sandbox()
    }

    /// Ends the lease: takes the sandbox down and waits until nothing of it is left.
    pub async fn stop(self) -> Result<Stopped> {
        Ok(self.slot.stop().await?.stopped())
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.sandbox().name();
        out.debug_struct("Lease").field("sandbox", name).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warm { age } => write!(out, "warm for {} ms", age.as_millis()),
            Self::Cold { why } => write!(out, "cold: {why}"),
        }
    }
}

impl fmt::Display for Cold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotPoolable(why) => return why.fmt(out),
            Self::New => "nobody has asked for one like it lately",
            Self::Empty => "all that were warm are leased",
            Self::Unfit => "the one that was warm did not answer, or could not be resized",
            Self::CircuitOpen => "the pool cannot boot any at the moment",
            Self::NoShelf => "the pool has all the keys that it may have",
        })
    }
}
