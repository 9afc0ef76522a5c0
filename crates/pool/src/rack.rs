//! What lies ready, first in, first out: a state machine that is open until it is closed for ever.
//!
//! ```text
//! reserve ──▶ place ──fill──▶ lies ready ──pop, remove──▶ somebody's
//!               │                   │
//!               └──free──▶ nothing  └──close──▶ whoever closes
//! ```
//!
//! It has no lock of its own: whoever shares it puts it behind one. That no thing is lost, none given out
//! twice and none given out after the end is checked by loom and by a model.

use std::collections::VecDeque;

/// Things in the order in which they came, and the places of those that are still to come.
#[derive(Debug)]
pub(crate) struct Rack<T> {
    ready: VecDeque<Entry<T>>,
    awaited: usize,
    bytes: u64,
    next_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Entry<T> {
    id: u64,
    bytes: u64,
    thing: T,
}

/// The place of a thing that is to come. It counts until it is given back, filled or not.
#[derive(Debug)]
#[must_use = "a place that is not given back counts for ever"]
pub(crate) struct Place {
    id: u64,
    bytes: u64,
}

impl Place {
    /// By which the thing is found once it is there.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl<T> Rack<T> {
    pub(crate) fn new() -> Self {
        Self { ready: VecDeque::new(), awaited: 0, bytes: 0, next_id: 0, closed: false }
    }

    /// Promises a place, and so many bytes of memory with it. `None` once the rack is closed.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Option<Place> {
        if self.closed {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.awaited += 1;
        self.bytes += bytes;
        Some(Place { id, bytes })
    }

    /// Puts the thing into its place. It comes back if the rack was closed meanwhile.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub(crate) fn fill(&mut self, place: Place, thing: T) -> Result<(), T> {
        let Place { id, bytes } = place;
        self.awaited -= 1;
        if self.closed {
            self.bytes -= bytes;
            return Err(thing);
        }
        self.ready.push_back(Entry { id, bytes, thing });
        Ok(())
    }

    /// Gives up a place for which nothing will come.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub(crate) fn free(&mut self, place: Place) {
        self.awaited -= 1;
        self.bytes -= place.bytes;
    }

    /// The thing that has been here longest.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let entry = self.ready.pop_front()?;
        self.bytes -= entry.bytes;
        Some(entry.thing)
    }

    /// This very thing, if nobody has it yet.
    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let at = self.ready.iter().position(|entry| entry.id == id)?;
        let entry = self.ready.remove(at)?;
        self.bytes -= entry.bytes;
        Some(entry.thing)
    }

    /// Ends it: gives out everything, and from now on nothing any more.
    pub(crate) fn close(&mut self) -> Vec<T> {
        self.closed = true;
        let given: Vec<T> = std::iter::from_fn(|| self.pop()).collect();
        given
    }

    /// How many lie ready.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many are still to come.
    pub(crate) fn awaited(&self) -> usize {
        self.awaited
    }

    /// Memory promised to those that are here and those that are to come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(all(test, loom))]
mod loom_model;
#[cfg(all(test, not(loom)))]
mod tests;
