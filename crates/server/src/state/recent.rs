//! The sandboxes that ended last, so that a failing disk does not make them unknown.

use std::collections::VecDeque;

use super::Found;

/// So many are remembered without the store.
const RECENT_MAX: usize = 256;

/// The last that ended, the newest first.
#[derive(Default)]
pub struct Recent {
    ended: VecDeque<Found>,
}

impl Recent {
    /// One more.
    pub fn push(&mut self, one: Found) {
        self.ended.truncate(RECENT_MAX - 1);
        self.ended.push_front(one);
    }

    /// Whatever this owner had under this id or name.
    pub fn find(&self, owner: &str, word: &str) -> Option<&Found> {
        self.ended.iter().find(|one| {
            let sandbox = one.view.borrow();
            sandbox.owner == owner && (sandbox.id == word || sandbox.name == word)
        })
    }

    /// One that is started again, or was forgotten on request.
    pub fn remove(&mut self, id: &str) {
        self.ended.retain(|one| one.view.borrow().id != id);
    }
}
