//! What a shelf makes of boots and sandboxes that fail, and of those that work again.

use std::sync::atomic::Ordering;

use agentkernel_core::{Error, ErrorKind};
use tokio::time::Instant;

use super::Shelf;
use crate::circuit::Circuit;
use crate::settings::PoolSettings;
use crate::slot::{Slot, Warm};
use crate::sync::lock;

impl Shelf {
    /// A boot for this key worked.
    pub(crate) fn booted(&self) {
        let p99 = self.meter.boot_p99().unwrap_or_default();
        let mut state = lock(&self.state);
        state.circuit.booted();
        self.is_troubled.store(state.circuit.failures() > 0, Ordering::Relaxed);
        state.lead =
            p99.clamp(self.settings.lead_min, self.settings.demand_window.max(self.settings.lead_min));
    }

    /// A sandbox of this key answered, or was leased. Costs nothing where nothing is wrong.
    pub(crate) fn proven(&self) {
        if self.is_troubled.load(Ordering::Relaxed) {
            let mut state = lock(&self.state);
            state.circuit.proven();
            self.is_troubled.store(false, Ordering::Relaxed);
            drop(state);
            self.wake.notify_one();
        }
    }

    pub(super) fn failed(&self, error: &Error) {
        self.meter.boot_failed(error);
        self.trip(error, Circuit::failed);
    }

    pub(super) fn did_not_last(&self, slot: &Slot<Warm>, why: &str) {
        let error = Error::new(ErrorKind::SandboxGone, "keep a sandbox warm", why).on(slot.sandbox().name());
        self.meter.lost(&error);
        self.trip(&error, Circuit::did_not_last);
    }

    fn trip(&self, error: &Error, trip: impl FnOnce(&mut Circuit, Instant, &PoolSettings)) {
        let mut state = lock(&self.state);
        let before = state.circuit.state(&self.settings);
        trip(&mut state.circuit, Instant::now(), &self.settings);
        let after = state.circuit.state(&self.settings);
        self.is_troubled.store(true, Ordering::Relaxed);
        drop(state);
        if before != after {
            tracing::warn!(key = %self.key, %error, "refills fail");
        }
    }
}
