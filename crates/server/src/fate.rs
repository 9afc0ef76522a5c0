//! The order to end that a sandbox can be given, once.

use std::sync::Arc;

use agentkernel_api::CauseOfDeath;
use tokio::sync::watch;

/// Why a sandbox is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The cause, unless the boundary knows better once it has been stopped.
    pub cause: CauseOfDeath,
    /// What else is known, for a person.
    pub detail: String,
    /// Nobody ordered it: the boundary is asked, too.
    pub suspect: bool,
}

/// Whether a sandbox is to end, known to everybody who has to do with it. The first verdict stands.
#[derive(Debug, Clone)]
pub struct Fate {
    verdict: Arc<watch::Sender<Option<Verdict>>>,
}

impl Fate {
    /// It may live.
    pub fn open() -> Self {
        Self { verdict: Arc::new(watch::channel(None).0) }
    }

    /// Orders its end. Whoever comes later changes nothing.
    pub fn decide(&self, cause: CauseOfDeath, detail: impl Into<String>) {
        self.first(Verdict { cause, detail: detail.into(), suspect: false });
    }

    /// Says that it has ended by itself, as far as can be seen.
    pub fn suspect(&self, cause: CauseOfDeath, detail: impl Into<String>) {
        self.first(Verdict { cause, detail: detail.into(), suspect: true });
    }

    fn first(&self, new: Verdict) {
        self.verdict.send_if_modified(|verdict| {
            let is_first = verdict.is_none();
            if is_first {
                *verdict = Some(new);
            }
            is_first
        });
    }

    /// The verdict, if there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.borrow().clone()
    }

    /// Waits for the verdict.
    pub async fn decided(&self) -> Verdict {
        let mut verdict = self.verdict.subscribe();
        match verdict.wait_for(Option::is_some).await.ok().and_then(|verdict| verdict.clone()) {
            Some(verdict) => verdict,
            None => std::future::pending().await, // `self` holds the sender, so that it cannot be gone
        }
    }
}

/// Orders the end when it is dropped, unless it was put off: how a client that goes away takes its sandbox along.
#[derive(Debug)]
pub struct EndOnDrop {
    fate: Option<Fate>,
}

impl EndOnDrop {
    pub fn new(fate: Fate) -> Self {
        Self { fate: Some(fate) }
    }

    /// Whoever was waited for is still there: the sandbox may live on.
    pub fn put_off(mut self) {
        self.fate = None;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(fate) = &self.fate {
            fate.decide(CauseOfDeath::Killed, "its client went away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_verdict_stands() {
        let fate = Fate::open();
        assert_eq!(fate.verdict(), None);
        fate.decide(CauseOfDeath::Timeout, "first");
        fate.decide(CauseOfDeath::Killed, "second");
        let verdict = Verdict { cause: CauseOfDeath::Timeout, detail: "first".into(), suspect: false };
        assert_eq!((fate.decided().await, fate.verdict()), (verdict.clone(), Some(verdict)));
    }

    #[test]
    fn a_client_that_goes_away_takes_its_sandbox_along_unless_it_was_answered() {
        let fate = Fate::open();
        EndOnDrop::new(fate.clone()).put_off();
        assert_eq!(fate.verdict(), None);
        drop(EndOnDrop::new(fate.clone()));
        assert_eq!(fate.verdict().expect("decided").cause, CauseOfDeath::Killed);
    }
}
