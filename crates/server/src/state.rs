//! Who owns which sandboxes, and how far each of them is.
//!
//! ```text
//!                 admitted                lease or boot            fate decided           stopped, written down
//! (nothing) ─────────────▶ creating ─────────────▶ running ─────────────▶ stopping ─────────────▶ ended
//!     ▲                       │                   pause │ ▲ resume           ▲                      │
//!     │   not made after all  │                         ▼ │                  │                      │ start
//!     └───────────────────────┘                       paused ────────────────┘                      ▼
//!                                                                                                creating
//! ```
//!
//! **Concurrency.** One task, the owner in `state/owner.rs`, has the map of all sandboxes that live. Others send it
//! an [`Ask`] and wait for the answer; it decides at once and never awaits anything but the next ask. There is no
//! lock around the map. What the owner decides is what needs a look at all sandboxes: whether a name is free,
//! whether a limit is reached, what a caller may see.
//!
//! From admission to its end each sandbox has one task of its own, its keeper (`keeper.rs`), which alone holds the
//! `Box<dyn Sandbox>`, and alone writes the sandbox's [`View`] and its row in the store. The owner and everybody else
//! read the view. Three more things go between tasks:
//!
//! - the [`Fate`]: anybody may order the end, the first order stands, and everybody who uses the sandbox hears of it;
//! - a [`Guest`]: the way to use the sandbox while it lives. A use holds it with a count, and gives way to the fate,
//!   so that the keeper, once the fate is decided, gets the box back and can stop it;
//! - [`keeper::Ask`]: what only the keeper may do.
//!
//! Every end has exactly one cause: the fate's, unless the boundary, once stopped, knows better (`keeper/end.rs`). It
//! is in the view before anybody who waits for the end goes on, in the store before the owner forgets the sandbox,
//! and with the owner's recent ones before it is forgotten, so that no moment has no answer.

mod memory;
mod owner;
mod recent;

pub use memory::HostMemory;

use std::sync::Arc;

use agentkernel_api::{CauseOfDeath, Event, EventKind, Sandbox, State as SandboxState};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::failure::{Failure, Outcome};
use crate::fate::Fate;
use crate::guest::Guest;
use crate::settings::Limits;

/// What is told of a sandbox, as its keeper last wrote it.
pub type View = watch::Receiver<Sandbox>;

/// A sandbox that wants to be admitted.
pub struct Candidate {
    /// What is told of it, its owner, id and name among it.
    pub view: View,
    /// The order to end.
    pub fate: Fate,
    /// Memory that it may use.
    pub promised_bytes: Option<u64>,
}

/// A sandbox that was found.
#[derive(Clone)]
pub struct Found {
    /// What is told of it.
    pub view: View,
    /// The order to end.
    pub fate: Fate,
    /// The way to use it, once it has been made.
    pub guest: Option<Guest>,
}

impl Found {
    /// It as it is now.
    pub fn now(&self) -> Sandbox {
        self.view.borrow().clone()
    }

    /// Waits until nothing of it is left but what is told: its keeper is gone then, and has told the owner so.
    pub async fn ended(&self) -> Sandbox {
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {}
        self.now()
    }
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Sandboxes by state.
    pub by_state: std::collections::BTreeMap<SandboxState, u64>,
    /// Memory promised to them.
    pub promised_bytes: u64,
}

impl Counts {
    /// All that live.
    pub fn living(&self) -> u64 {
        self.by_state.values().sum()
    }

    /// Those that are being made.
    pub fn queued(&self) -> u64 {
        self.by_state.get(&SandboxState::Creating).copied().unwrap_or_default()
    }
}

/// An event, and whose it is.
#[derive(Debug)]
pub struct OwnedEvent {
    /// Whose.
    pub owner: String,
    /// It.
    pub event: Event,
}

/// What happened to a sandbox, and how far it was then.
#[derive(Clone, Copy)]
struct Said {
    kind: EventKind,
    pid: Option<u32>,
    state: SandboxState,
    cause: Option<CauseOfDeath>,
}

/// What can be asked of the owner.
enum Ask {
    /// May this sandbox be made? It then counts against every limit.
    Admit(Candidate, oneshot::Sender<Outcome<()>>),
    /// This one was here before the daemon was: no limit is asked.
    TakeBack(Candidate),
    /// It has been made.
    Live(String, Guest),
    /// It was not made after all.
    Forget(String),
    /// It has ended.
    Ended(String),
    /// Tell the listeners.
    Tell(String, Said),
    /// What has this owner under this id or name?
    Find { owner: String, word: String, reply: oneshot::Sender<Option<Found>> },
    /// What has this owner?
    List { owner: String, reply: oneshot::Sender<Vec<Sandbox>> },
    /// How many are there?
    Count(oneshot::Sender<Counts>),
    /// Is half of everything free?
    IsRoomy(oneshot::Sender<bool>),
    /// Admit nothing more, and say what there is.
    Close(oneshot::Sender<Vec<Found>>),
}

/// The way to the owner. It ends with the last clone.
///
/// The way is not bounded, because what is on it is: whoever asks waits for the answer, and what needs no answer is
/// said once or twice for each sandbox and command, which have limits of their own.
#[derive(Clone)]
pub struct State {
    asks: mpsc::UnboundedSender<Ask>,
    events: broadcast::Sender<Arc<OwnedEvent>>,
}

impl State {
    /// Starts the owner.
    pub fn start(limits: &Limits) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        let events = broadcast::channel(limits.events_max.max(1)).0;
        tokio::spawn(owner::Owner::new(limits.clone(), events.clone()).run(asked));
        Self { asks, events }
    }

    /// Asks for a place for a sandbox that is to be made.
    pub async fn admit(&self, candidate: Candidate) -> Outcome<()> {
        self.ask(|reply| Ask::Admit(candidate, reply)).await?
    }

    /// Says that there is a sandbox from before.
    pub fn take_back(&self, candidate: Candidate) {
        self.say(Ask::TakeBack(candidate));
    }

    /// Says that it has been made.
    pub fn live(&self, id: &str, guest: Guest) {
        self.say(Ask::Live(id.to_owned(), guest));
    }

    /// Says that it was not made after all.
    pub fn forget(&self, id: &str) {
        self.say(Ask::Forget(id.to_owned()));
    }

    /// Says that it has ended.
    pub fn ended(&self, id: &str) {
        self.say(Ask::Ended(id.to_owned()));
    }

    /// Tells the listeners what happened to this sandbox, as it is now.
    pub fn tell(&self, sandbox: &Sandbox, kind: EventKind, pid: Option<u32>) {
        let said = Said { kind, pid, state: sandbox.state, cause: sandbox.cause };
        self.say(Ask::Tell(sandbox.id.clone(), said));
    }

    /// What this owner has under this id or name, if it lives or has ended lately.
    pub async fn find(&self, owner: &str, word: &str) -> Outcome<Option<Found>> {
        let (owner, word) = (owner.to_owned(), word.to_owned());
        self.ask(|reply| Ask::Find { owner, word, reply }).await
    }

    /// What this owner has that lives, the newest last.
    pub async fn list(&self, owner: &str) -> Outcome<Vec<Sandbox>> {
        let owner = owner.to_owned();
        self.ask(|reply| Ask::List { owner, reply }).await
    }

    /// How many there are.
    pub async fn count(&self) -> Outcome<Counts> {
        self.ask(Ask::Count).await
    }

    /// Whether half of everything that sandboxes are refused for is free.
    pub async fn is_roomy(&self) -> Outcome<bool> {
        self.ask(Ask::IsRoomy).await
    }

    /// Admits nothing more, and says what there is.
    pub async fn close(&self) -> Outcome<Vec<Found>> {
        self.ask(Ask::Close).await
    }

    /// What happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<OwnedEvent>> {
        self.events.subscribe()
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        self.say(ask(reply));
        answer.await.map_err(|_| Failure::internal("the owner of all sandboxes has ended"))
    }

    /// The owner lives as long as there is a way to it; if it panicked, whoever waits for an answer notices.
    fn say(&self, ask: Ask) {
        drop(self.asks.send(ask));
    }
}
