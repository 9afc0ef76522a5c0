//! A boot that is under way for a shelf.

use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind, Resize, Result, SandboxSpec};
use tokio::time::Instant;

use super::Shelf;
use crate::rack::Place;
use crate::random::{fresh_name, jittered};
use crate::slot::{Slot, Warm};
use crate::stats::Discard;
use crate::sync::lock;
use crate::watch::{Care, Watch};

/// A boot that is to fill a place. Dropping it gives the place back.
pub(crate) struct Order {
    shelf: Arc<Shelf>,
    place: Option<Place>,
    size: Resize,
}

impl Order {
    pub(super) fn new(shelf: &Arc<Shelf>, place: Place, size: Resize) -> Self {
        Self { shelf: Arc::clone(shelf), place: Some(place), size }
    }

    pub(crate) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// What to boot.
    pub(crate) fn spec(&self) -> Result<SandboxSpec> {
        Ok(self.shelf.key.spec(fresh_name()?, self.size))
    }

    /// The boot worked: the slot waits on the shelf, or is stopped if the shelf is no more.
    pub(crate) fn fill(mut self, mut slot: Slot<Warm>) {
        let Some(place) = self.place.take() else { return };
        let (shelf, settings) = (&self.shelf, &self.shelf.settings);
        shelf.meter.booted(slot.times());
        shelf.booted();
        let care = Care {
            check_interval: settings.check_interval,
            check_deadline: settings.check_deadline,
            expires: Instant::now() + jittered(settings.age_max),
        };
        let id = place.id();
        let overseen = slot.watch(|sandbox| Watch::start(sandbox, care, Arc::downgrade(shelf), id));
        let back = lock(&shelf.state).rack.fill(place, slot).err();
        match back {
            Some(slot) => drop(shelf.retire(slot, Discard::Drained)),
            // Its watch may have looked for it before it was here.
            None if overseen.is_over() => shelf.over(id),
            None => {}
        }
    }

    /// The boot failed.
    pub(crate) fn fail(mut self, error: &Error) {
        self.give_back();
        self.shelf.failed(error);
    }

    fn give_back(&mut self) -> bool {
        let place = self.place.take();
        let has_place = place.is_some();
        if let Some(place) = place {
            lock(&self.shelf.state).rack.free(place);
        }
        has_place
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        // A boot that ends without a word has panicked, and would panic again at once.
        if self.give_back() && !self.shelf.gate.is_closed() {
            self.shelf.failed(&Error::new(
                ErrorKind::Internal,
                "start the sandbox",
                "the boot was broken off",
            ));
        }
    }
}
