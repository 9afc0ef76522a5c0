//! The task of a watch, which has the clock.

use std::future::{pending, poll_fn};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use agentkernel_core::Sandbox;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Fate, Post, Vitals};
use crate::shelf::Shelf;

/// How a sandbox that waits is looked after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Care {
    pub(crate) check_interval: Duration,
    pub(crate) check_deadline: Duration,
    /// When it is too old.
    pub(crate) expires: Instant,
}

/// Takes a slot off its shelf when its task ends, in whatever way: the runtime's end, a panic.
struct Leave {
    shelf: Weak<Shelf>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelf.upgrade() {
            shelf.leave(self.id);
        }
    }
}

/// Drives a watch to its end, and takes its slot off the shelf.
pub(super) async fn run(post: Arc<Post>, care: Care, shelf: Weak<Shelf>, id: u64) {
    let leave = Leave { shelf, id };
    tokio::select! {
        biased; // what was answered is seen before the clock looks for it
        () = post.drive() => {}
        fate = clock(&post.vitals, care, &leave.shelf) => post.end(fate),
    }
    if let Some(shelf) = leave.shelf.upgrade() {
        shelf.over(leave.id);
    }
}

/// Has the sandbox asked from time to time, until it does not answer in time or is too old.
async fn clock(vitals: &Vitals, care: Care, shelf: &Weak<Shelf>) -> Fate {
    loop {
        let next = Instant::now() + care.check_interval;
        if next >= care.expires {
            sleep_until(care.expires).await;
            return Fate::Aged;
        }
        sleep_until(next).await;
        if vitals.claimed.load(Ordering::Relaxed) {
            return pending().await; // until the lease ends
        }
        vitals.asked.store(true, Ordering::Relaxed);
        if timeout(care.check_deadline, answer(vitals)).await.is_err() {
            return Fate::Unhealthy(no_answer(care.check_deadline));
        }
        shelf.upgrade().iter().for_each(|shelf| shelf.proven());
    }
}

/// Waits for the answer. The same task drives the watch, and looks at this afterwards each time.
async fn answer(vitals: &Vitals) {
    yield_now().await;
    let asked = || vitals.asked.load(Ordering::Relaxed);
    poll_fn(|_| if asked() { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// One round trip, or why there was none.
pub(crate) async fn ping(sandbox: &dyn Sandbox, deadline: Duration) -> Result<(), String> {
    match timeout(deadline, sandbox.ping()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(no_answer(deadline)),
    }
}

fn no_answer(deadline: Duration) -> String {
    format!("it did not answer within {} ms", deadline.as_millis())
}
