//! The shelves of all keys, no more than there may be.

use std::collections::HashMap;
use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind};

use crate::key::PoolKey;
use crate::shelf::Shelf;
use crate::sync::{Mutex, lock};

/// Shelves by key.
pub(crate) struct Shelves {
    keys_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shelves: HashMap<PoolKey, Arc<Shelf>>,
    closed: bool,
}

/// What came of looking for a shelf.
pub(crate) enum Found {
    /// It was there.
    Old(Arc<Shelf>),
    /// It was made, and another one had to go for it.
    New(Arc<Shelf>, Option<Arc<Shelf>>),
    /// There is no room for it.
    NoRoom,
}

impl Shelves {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { keys_max, state: Mutex::default() }
    }

    /// The shelf of this key. If it has to be made and all places are taken, the shelf that was asked for
    /// longest ago is taken away, but for those whose targets were set.
    pub(crate) fn find(&self, key: PoolKey, make: impl FnOnce(PoolKey) -> Shelf) -> Result<Found, Error> {
        let mut state = lock(&self.state);
        if let Some(shelf) = state.shelves.get(&key) {
            return Ok(Found::Old(Arc::clone(shelf)));
        }
        if state.closed {
            return Err(closed());
        }
        let mut gone = None;
        if state.shelves.len() >= self.keys_max {
            let Some(key) = state.idlest() else { return Ok(Found::NoRoom) };
            gone = state.shelves.remove(&key);
        }
        let shelf = Arc::new(make(key.clone()));
        state.shelves.insert(key, Arc::clone(&shelf));
        Ok(Found::New(shelf, gone))
    }

    pub(crate) fn remove(&self, key: &PoolKey) -> Option<Arc<Shelf>> {
        lock(&self.state).shelves.remove(key)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Shelf>> {
        lock(&self.state).shelves.values().cloned().collect()
    }

    /// Gives all of them out.
    pub(crate) fn take_all(&self) -> Vec<Arc<Shelf>> {
        lock(&self.state).shelves.drain().map(|(_, shelf)| shelf).collect()
    }

    /// Gives all of them out, and makes no more.
    pub(crate) fn close(&self) -> Vec<Arc<Shelf>> {
        lock(&self.state).closed = true;
        self.take_all()
    }
}

impl State {
    fn idlest(&self) -> Option<PoolKey> {
        let idle = self.shelves.values().filter_map(|shelf| Some((shelf.idle_since()?, shelf)));
        idle.min_by_key(|(since, _)| *since).map(|(_, shelf)| shelf.key.clone())
    }
}

/// The error of whoever comes after the end.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "acquire a sandbox", "the pool was shut down")
}
