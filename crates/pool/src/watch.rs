//! The watch over one warm sandbox: that it lives, that it answers, that it does not become too old.
//!
//! A task drives the watch, which is a future that shares the sandbox with its slot. Whoever takes the slot
//! from its shelf has the sandbox, and asks the watch for its verdict. That costs next to nothing where the
//! watch has been still since its task looked at it; else he looks himself, so that what is known to have
//! ended is never leased, even if its task has not run yet.
//!
//! A lease keeps its watch, which does nothing any more, and drops it at its end: ending a watch takes
//! longer than a lease.

mod task;

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use agentkernel_core::{Ended, Sandbox};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::shelf::Shelf;
use crate::stir::Stir;
use crate::sync::{Mutex, lock};

pub(crate) use task::{Care, ping};

/// The sandbox, for its slot and its watch.
pub(crate) type SharedSandbox = Arc<Box<dyn Sandbox>>;

/// What may be wrong with a sandbox that waits.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It ended by itself.
    Died(Ended),
    /// It did not answer.
    Unhealthy(String),
    /// It is too old.
    Aged,
}

/// What is known of a sandbox with which nothing is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Since when it was ready.
    pub(crate) age: Duration,
    /// How long ago it answered.
    pub(crate) checked: Duration,
}

/// A watch. Once it is dropped, nobody but the slot has the sandbox.
pub(crate) struct Watch {
    post: Arc<Post>,
    /// Those of the post, which whoever is in a hurry reaches without it.
    vitals: Arc<Vitals>,
    task: AbortHandle,
    born: Instant,
    expires: Instant,
}

/// Tells whether a watch is over.
pub(crate) struct Overseen(Arc<Post>);

/// Where watch and task meet.
struct Post {
    state: Mutex<State>,
    vitals: Arc<Vitals>,
}

enum State {
    Watching(Pin<Box<dyn Future<Output = Fate> + Send>>),
    Over(Fate),
    /// It was dropped, or has panicked.
    Gone,
}

/// What is known of the sandbox without looking at it.
struct Vitals {
    born: Instant,
    stir: Stir,
    /// It was leased, and is nobody's business any more.
    claimed: AtomicBool,
    /// It is to answer, and has not yet.
    asked: AtomicBool,
    /// When it answered last, in milliseconds since it was born; 0 if never.
    checked_ms: AtomicU64,
    /// The watch's task.
    task: Mutex<Option<Waker>>,
}

impl Watch {
    /// Begins to watch a sandbox which is on the shelf by this number, or will be in a moment.
    pub(crate) fn start(sandbox: SharedSandbox, care: Care, shelf: Weak<Shelf>, id: u64) -> Self {
        let vitals = Arc::new(Vitals::new());
        let watching = tokio::task::unconstrained(look_after(sandbox, Arc::clone(&vitals)));
        let state = Mutex::new(State::Watching(Box::pin(watching)));
        let (born, post) = (vitals.born, Arc::new(Post { state, vitals: Arc::clone(&vitals) }));
        let task = tokio::spawn(task::run(Arc::clone(&post), care, shelf, id)).abort_handle();
        Self { post, vitals, task, born, expires: care.expires }
    }

    /// What is known at this moment, for one who takes the sandbox: it is not looked after any more.
    pub(crate) fn verdict(&self, now: Instant) -> Result<Known, Fate> {
        self.vitals.claimed.store(true, Ordering::Relaxed);
        if !self.vitals.stir.is_still() {
            self.post.look()?;
        }
        if now >= self.expires { Err(Fate::Aged) } else { Ok(self.known(now)) }
    }

    /// The same, if it can be told without looking at the sandbox and there is nothing wrong.
    pub(crate) fn still(&self, now: Instant) -> Option<Known> {
        self.vitals.claimed.store(true, Ordering::Relaxed);
        (self.vitals.stir.is_still() && now < self.expires).then(|| self.known(now))
    }

    fn known(&self, now: Instant) -> Known {
        let age = now.saturating_duration_since(self.born);
        let checked = Duration::from_millis(self.vitals.checked_ms.load(Ordering::Relaxed));
        Known { age, checked: age.saturating_sub(checked) }
    }

    /// Whether the sandbox has answered.
    pub(crate) fn has_answered(&self) -> bool {
        self.vitals.checked_ms.load(Ordering::Relaxed) > 0
    }

    /// Something to ask whether it is over, for one who gives the watch away.
    pub(crate) fn overseen(&self) -> Overseen {
        Overseen(Arc::clone(&self.post))
    }
}

impl Overseen {
    /// Whether the watch is over.
    pub(crate) fn is_over(&self) -> bool {
        !matches!(*lock(&self.0.state), State::Watching(_))
    }
}

impl Known {
    /// Of a sandbox that was not watched.
    pub(crate) const JUST_BOOTED: Self = Self { age: Duration::ZERO, checked: Duration::ZERO };
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The task may live on for a moment; what shares the sandbox goes here and now.
        let state = mem::replace(&mut *lock(&self.post.state), State::Gone);
        drop(state);
        self.task.abort();
    }
}

impl Post {
    /// Looks by itself, at once, instead of the task.
    fn look(&self) -> Result<(), Fate> {
        match self.poll(Waker::noop()) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => match mem::replace(&mut *lock(&self.state), State::Gone) {
                State::Over(fate) => Err(fate),
                State::Watching(_) | State::Gone => Err(Fate::Unhealthy("its watch was broken off".into())),
            },
        }
    }

    /// Drives the watch; ready when it is over.
    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut state = lock(&self.state);
        // While it is polled it is not there: a watch that panics is gone.
        match mem::replace(&mut *state, State::Gone) {
            State::Watching(mut watching) => match watching.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Pending => {
                    *state = State::Watching(watching);
                    return Poll::Pending;
                }
                Poll::Ready(fate) => {
                    *state = State::Over(fate);
                    self.vitals.stir.stir();
                }
            },
            over => *state = over,
        }
        Poll::Ready(())
    }

    /// Drives the watch until it is over, and notes that it is still in between.
    async fn drive(&self) {
        let waker = Waker::from(Arc::clone(&self.vitals));
        poll_fn(|context| {
            self.vitals.wake_up(context.waker());
            let look = self.vitals.stir.look();
            let polled = self.poll(&waker);
            if polled.is_pending() {
                self.vitals.stir.seen(look);
            }
            polled
        })
        .await;
    }

    /// Ends the watch from outside.
    fn end(&self, fate: Fate) {
        let watching = mem::replace(&mut *lock(&self.state), State::Over(fate));
        self.vitals.stir.stir();
        drop(watching); // not while the lock is held
    }
}

impl Vitals {
    fn new() -> Self {
        let (claimed, asked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (stir, checked_ms) = (Stir::new(), AtomicU64::new(0));
        Self { born: Instant::now(), stir, claimed, asked, checked_ms, task: Mutex::new(None) }
    }

    /// Whom to wake when something stirs.
    fn wake_up(&self, waker: &Waker) {
        let mut task = lock(&self.task);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn answered(&self) {
        let checked = Instant::now().duration_since(self.born).as_millis();
        // At least 1: 0 says that it has never answered.
        self.checked_ms.store(u64::try_from(checked).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }
}

impl Wake for Vitals {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.stir.stir();
        let task = lock(&self.task).clone();
        task.iter().for_each(Waker::wake_by_ref);
    }
}

/// The watch itself: until the sandbox ends, or fails to answer when it is asked. It has no clock of its own.
async fn look_after(sandbox: SharedSandbox, vitals: Arc<Vitals>) -> Fate {
    let (mut ended, mut ping) = (sandbox.ended(), None);
    poll_fn(|context| {
        if let Poll::Ready(ended) = ended.as_mut().poll(context) {
            return Poll::Ready(Fate::Died(ended));
        }
        let wants_answer = vitals.asked.load(Ordering::Relaxed) && !vitals.claimed.load(Ordering::Relaxed);
        if ping.is_none() && wants_answer {
            ping = Some(sandbox.ping());
        }
        match ping.as_mut().map(|ping| ping.as_mut().poll(context)) {
            Some(Poll::Ready(Ok(_))) => {
                ping = None;
                vitals.answered();
                Poll::Pending
            }
            Some(Poll::Ready(Err(error))) => Poll::Ready(Fate::Unhealthy(error.to_string())),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}
