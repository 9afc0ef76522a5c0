//! Whether something has stirred since it was last looked at: so that who is in a hurry need not look.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts what may have changed, and how much of it has been seen.
#[derive(Debug)]
pub(crate) struct Stir {
    stirred: AtomicU64,
    seen: AtomicU64,
}

/// How much had stirred when somebody began to look.
#[derive(Debug)]
#[must_use = "what was looked at is told by `seen`"]
pub(crate) struct Look(u64);

impl Stir {
    /// Of something at which nobody has looked yet.
    pub(crate) fn new() -> Self {
        Self { stirred: AtomicU64::new(1), seen: AtomicU64::new(0) }
    }

    /// Something may have changed.
    pub(crate) fn stir(&self) {
        self.stirred.fetch_add(1, Ordering::AcqRel);
    }

    /// Begins to look.
    pub(crate) fn look(&self) -> Look {
        Look(self.stirred.load(Ordering::Acquire))
    }

    /// Has looked, and nothing had changed. What stirred meanwhile has not been seen.
    #[expect(clippy::needless_pass_by_value, reason = "each look is told once")]
    pub(crate) fn seen(&self, look: Look) {
        self.seen.store(look.0, Ordering::Release);
    }

    /// Whether nothing has stirred since it was looked at, and nobody is about to look.
    pub(crate) fn is_still(&self) -> bool {
        // In this order: what is seen later than this was stirred earlier than that.
        let seen = self.seen.load(Ordering::Acquire);
        self.stirred.load(Ordering::Acquire) == seen
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_stirs_while_somebody_looks_has_not_been_seen() {
        let stir = Stir::new();
        assert!(!stir.is_still(), "nobody has looked yet");
        stir.seen(stir.look());
        assert!(stir.is_still());
        let look = stir.look();
        stir.stir();
        stir.seen(look);
        assert!(!stir.is_still());
        stir.seen(stir.look());
        assert!(stir.is_still());
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    use super::*;

    #[test]
    fn loom_who_finds_it_still_has_missed_nothing_that_was_told_before() {
        loom::model(|| {
            let (stir, ended) = (Arc::new(Stir::new()), Arc::new(AtomicBool::new(false)));
            let teller = thread::spawn({
                let (stir, ended) = (stir.clone(), ended.clone());
                move || {
                    ended.store(true, Ordering::Release);
                    stir.stir();
                }
            });
            let watcher = thread::spawn({
                let (stir, ended) = (stir.clone(), ended.clone());
                move || {
                    // Twice, as a task is polled again when it was woken.
                    for _ in 0..2 {
                        let look = stir.look();
                        if ended.load(Ordering::Acquire) {
                            return;
                        }
                        stir.seen(look);
                    }
                }
            });
            teller.join().expect("no panic");
            assert!(!stir.is_still(), "the end was told, and looks as if nothing had happened");
            watcher.join().expect("no panic");
            assert!(!stir.is_still());
        });
    }
}
