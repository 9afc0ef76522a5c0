//! The one task that has the map of all sandboxes that live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{ErrorKind, Event, EventKind, Sandbox, State as SandboxState};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::memory::HostMemory;
use super::recent::Recent;
use super::{Ask, Candidate, Counts, Found, OwnedEvent, Said};
use crate::clock;
use crate::failure::{Failure, Outcome};
use crate::settings::Limits;

/// How old a reading of the host's memory may be.
const MEMORY_AGE_MAX: Duration = Duration::from_millis(100);

/// Decides whatever needs a look at all sandboxes.
pub struct Owner {
    limits: Limits,
    /// By id, in the order of admission.
    living: BTreeMap<u64, Entry>,
    numbers: BTreeMap<String, u64>,
    next_number: u64,
    recent: Recent,
    memory: Option<(Instant, HostMemory)>,
    events: broadcast::Sender<Arc<OwnedEvent>>,
    sequence: u64,
    closed: bool,
}

struct Entry {
    owner: String,
    name: String,
    promised_bytes: u64,
    found: Found,
}

impl Entry {
    /// Whether nobody else may have this name. A run whose end is decided has been answered, or nobody waits for it:
    /// its name can be given again while it is taken down.
    fn holds(&self, name: &str) -> bool {
        self.name == name && !(self.found.view.borrow().run && self.found.fate.verdict().is_some())
    }
}

impl Owner {
    pub fn new(limits: Limits, events: broadcast::Sender<Arc<OwnedEvent>>) -> Self {
        Self {
            limits,
            living: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            recent: Recent::default(),
            memory: None,
            events,
            sequence: 0,
            closed: false,
        }
    }

    /// Until nobody can ask any more.
    pub async fn run(mut self, mut asks: mpsc::UnboundedReceiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            self.answer(ask);
        }
    }

    /// An answer that nobody waits for any more is dropped.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Admit(candidate, reply) => drop(reply.send(self.admit(candidate))),
            Ask::TakeBack(candidate) => {
                let promised_bytes = candidate.promised_bytes.unwrap_or_default();
                self.add(candidate, promised_bytes);
            }
            Ask::Live(id, guest) => {
                if let Some(entry) = self.entry(&id) {
                    entry.found.guest = Some(guest);
                }
                // It may be ending by now, which is told next.
                let state = SandboxState::Running;
                self.tell(&id, Said { kind: EventKind::State, pid: None, state, cause: None });
            }
            Ask::Forget(id) => {
                let state = SandboxState::Ended;
                self.tell(&id, Said { kind: EventKind::Failed, pid: None, state, cause: None });
                self.remove(&id);
                self.recent.remove(&id);
            }
            Ask::Ended(id) => {
                self.tell_state(&id);
                if let Some(mut entry) = self.remove(&id) {
                    entry.found.guest = None;
                    self.recent.push(entry.found);
                }
            }
            Ask::Tell(id, said) => self.tell(&id, said),
            Ask::Find { owner, word, reply } => drop(reply.send(self.find(&owner, &word).cloned())),
            Ask::List { owner, reply } => drop(reply.send(self.list(&owner))),
            Ask::Count(reply) => drop(reply.send(self.count())),
            Ask::IsRoomy(reply) => drop(reply.send(self.is_roomy())),
            Ask::Close(reply) => {
                self.closed = true;
                drop(reply.send(self.living.values().map(|entry| entry.found.clone()).collect()));
            }
        }
    }

    fn admit(&mut self, candidate: Candidate) -> Outcome<()> {
        let (id, owner, name) = {
            let sandbox = candidate.view.borrow();
            (sandbox.id.clone(), sandbox.owner.clone(), sandbox.name.clone())
        };
        let promised_bytes = self.fits(&owner, &id, &name, candidate.promised_bytes)?;
        self.add(candidate, promised_bytes);
        self.tell_state(&id);
        Ok(())
    }

    fn add(&mut self, candidate: Candidate, promised_bytes: u64) {
        let Candidate { view, fate, .. } = candidate;
        let Sandbox { id, owner, name, .. } = view.borrow().clone();
        let number = self.next_number;
        self.next_number += 1;
        self.recent.remove(&id);
        self.numbers.insert(id, number);
        let found = Found { view, fate, guest: None };
        self.living.insert(number, Entry { owner, name, promised_bytes, found });
    }

    /// Whether no limit speaks against it, and how much memory it is promised.
    fn fits(&mut self, owner: &str, id: &str, name: &str, promised: Option<u64>) -> Outcome<u64> {
        let what = "make the sandbox";
        if self.closed {
            return Err(Failure::stopping());
        }
        let mut own = self.living.values().filter(|entry| entry.owner == owner);
        if own.clone().any(|entry| entry.holds(name)) || self.numbers.contains_key(id) {
            let failure = Failure::new(ErrorKind::NameTaken, what, "you have a sandbox of this name");
            return Err(failure.on(name).hint("choose another name, or remove the old one"));
        }
        let Limits { sandboxes_per_owner, sandboxes_max, queue_max, .. } = self.limits;
        if own.by_ref().count() >= sandboxes_per_owner {
            return Err(Failure::busy(
                what,
                format!("you have {sandboxes_per_owner}, the most that one may have"),
            ));
        }
        if self.living.len() >= sandboxes_max {
            return Err(Failure::busy(
                what,
                format!("there are {sandboxes_max}, the most that there may be"),
            ));
        }
        if self.living.values().filter(|entry| entry.found.guest.is_none()).count() >= queue_max {
            return Err(Failure::busy(what, format!("{queue_max} others are being made")));
        }
        self.promise(promised)
    }

    /// Whether the host has the memory. One that is not limited may use all that there is.
    fn promise(&mut self, promised: Option<u64>) -> Outcome<u64> {
        let Some(memory) = self.memory() else { return Ok(promised.unwrap_or_default()) };
        let what = "promise the sandbox its memory";
        let promised = promised.unwrap_or(memory.total_bytes);
        let most = self.promised_max(memory);
        if self.promised().saturating_add(promised) > most {
            let why = format!("{} MiB are promised already, of {} MiB", self.promised() >> 20, most >> 20);
            return Err(Failure::busy(what, why).hint("ask for less memory, or remove sandboxes"));
        }
        if memory.available_bytes < self.limits.memory_reserve.get() {
            let why = format!("the host has {} MiB left", memory.available_bytes >> 20);
            return Err(Failure::busy(what, why));
        }
        Ok(promised)
    }

    /// Whether half of every limit is free, that of one owner for all together among them.
    fn is_roomy(&mut self) -> bool {
        let Limits { sandboxes_per_owner, sandboxes_max, memory_reserve, .. } = self.limits;
        let has_places = self.living.len() <= sandboxes_per_owner.min(sandboxes_max) / 2;
        let promised = self.promised();
        let has_memory = self.memory().is_none_or(|memory| {
            promised <= self.promised_max(memory) / 2 && memory.available_bytes / 2 >= memory_reserve.get()
        });
        !self.closed && has_places && has_memory
    }

    /// How much memory may be promised to all together.
    fn promised_max(&self, memory: HostMemory) -> u64 {
        let most = u128::from(memory.total_bytes) * u128::from(self.limits.memory_promised_percent) / 100;
        u64::try_from(most).unwrap_or(u64::MAX)
    }

    fn promised(&self) -> u64 {
        self.living.values().map(|entry| entry.promised_bytes).fold(0, u64::saturating_add)
    }

    fn memory(&mut self) -> Option<HostMemory> {
        if let Some((read, memory)) = self.memory
            && read.elapsed() < MEMORY_AGE_MAX
        {
            return Some(memory);
        }
        let memory = HostMemory::read()?;
        self.memory = Some((Instant::now(), memory));
        Some(memory)
    }

    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.living.get_mut(self.numbers.get(id)?)
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        self.living.remove(&self.numbers.remove(id)?)
    }

    /// What lives comes first: its name may be that of one that has ended.
    fn find(&self, owner: &str, word: &str) -> Option<&Found> {
        let by_id = self.numbers.get(word).and_then(|number| self.living.get(number));
        // The newest: an older one of the same name is a run that is being taken down.
        let by_name = || self.living.values().rfind(|entry| entry.owner == owner && entry.name == word);
        let living = by_id.filter(|entry| entry.owner == owner).or_else(by_name).map(|entry| &entry.found);
        living.or_else(|| self.recent.find(owner, word))
    }

    fn list(&self, owner: &str) -> Vec<Sandbox> {
        self.living.values().filter(|entry| entry.owner == owner).map(|entry| entry.found.now()).collect()
    }

    fn count(&self) -> Counts {
        let mut by_state = BTreeMap::<SandboxState, u64>::new();
        for entry in self.living.values() {
            *by_state.entry(entry.found.view.borrow().state).or_default() += 1;
        }
        Counts { by_state, promised_bytes: self.promised() }
    }

    /// Tells how far a sandbox is.
    fn tell_state(&mut self, id: &str) {
        let Some(entry) = self.entry(id) else { return };
        let (state, cause) = {
            let sandbox = entry.found.view.borrow();
            (sandbox.state, sandbox.cause)
        };
        self.tell(id, Said { kind: EventKind::State, pid: None, state, cause });
    }

    /// Nobody may be listening, and whoever is slow is told that he missed something.
    fn tell(&mut self, id: &str, said: Said) {
        self.sequence += 1;
        let sequence = self.sequence;
        let Some(entry) = self.entry(id) else { return };
        let Said { kind, pid, state, cause } = said;
        let event = Event {
            sequence,
            time_ms: clock::wall_ms(),
            sandbox: id.to_owned(),
            name: entry.name.clone(),
            kind,
            state,
            cause,
            pid,
        };
        let event = OwnedEvent { owner: entry.owner.clone(), event };
        drop(self.events.send(Arc::new(event)));
    }
}
