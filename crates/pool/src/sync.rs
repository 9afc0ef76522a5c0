//! Locks and atomic numbers, or loom's model of them.

use std::sync::PoisonError;

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

/// Takes the lock. A panic of another holder is no reason to panic as well: every critical section of
/// this crate leaves its data whole, whatever line it ends at.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
