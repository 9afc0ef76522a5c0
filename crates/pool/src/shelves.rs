//! The shelves of all keys, no more than there may be.

use std::mem;
use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind, SandboxSpec};

use crate::key::PoolKey;
use crate::shelf::Shelf;
use crate::sync::{Mutex, lock};

/// Shelves by key.
pub(crate) struct Shelves {
    keys_max: usize,
    state: Mutex<State>,
}

/// There are a few, so that looking at each is quicker than a hash of what is looked for.
#[derive(Default)]
struct State {
    shelves: Vec<Arc<Shelf>>,
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

    /// The shelf of a spec that may be kept warm, if there is one.
    pub(crate) fn of(&self, spec: &SandboxSpec) -> Option<Arc<Shelf>> {
        lock(&self.state).shelves.iter().find(|shelf| shelf.key.is_of(spec)).cloned()
    }

    /// The shelf of this key. If it has to be made and all places are taken, the shelf that was asked for
    /// longest ago is taken away, but for those whose targets were set.
    pub(crate) fn find(&self, key: PoolKey, make: impl FnOnce(PoolKey) -> Shelf) -> Result<Found, Error> {
        let mut state = lock(&self.state);
        if let Some(shelf) = state.shelves.iter().find(|shelf| shelf.key == key) {
            return Ok(Found::Old(Arc::clone(shelf)));
        }
        if state.closed {
            return Err(closed());
        }
        let mut gone = None;
        if state.shelves.len() >= self.keys_max {
            let Some(idlest) = state.idlest() else { return Ok(Found::NoRoom) };
            gone = Some(state.shelves.swap_remove(idlest));
        }
        let shelf = Arc::new(make(key));
        state.shelves.push(Arc::clone(&shelf));
        Ok(Found::New(shelf, gone))
    }

    pub(crate) fn remove(&self, key: &PoolKey) -> Option<Arc<Shelf>> {
        let mut state = lock(&self.state);
        let at = state.shelves.iter().position(|shelf| shelf.key == *key)?;
        Some(state.shelves.swap_remove(at))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Shelf>> {
        lock(&self.state).shelves.clone()
    }

    /// Gives all of them out.
    pub(crate) fn take_all(&self) -> Vec<Arc<Shelf>> {
        mem::take(&mut lock(&self.state).shelves)
    }

    /// Gives all of them out, and makes no more.
    pub(crate) fn close(&self) -> Vec<Arc<Shelf>> {
        lock(&self.state).closed = true;
        self.take_all()
    }
}

impl State {
    fn idlest(&self) -> Option<usize> {
        let shelves = self.shelves.iter().enumerate();
        let idle = shelves.filter_map(|(at, shelf)| Some((shelf.idle_since()?, at)));
        idle.min().map(|(_, at)| at)
    }
}

/// The error of whoever comes after the end.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "acquire a sandbox", "the pool was shut down")
}
