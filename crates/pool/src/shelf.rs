//! All warm sandboxes of one key, and what is known of the demand for them.

mod order;
mod trouble;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agentkernel_core::{ByteSize, Ended, Resize, Result};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::circuit::{Circuit, CircuitState};
use crate::demand::Demand;
use crate::gate::Gate;
use crate::key::PoolKey;
use crate::lease::Cold;
use crate::meter::Meter;
use crate::plan::View;
use crate::rack::Rack;
use crate::settings::PoolSettings;
use crate::slot::{Slot, Warm};
use crate::stats::{Discard, KeyStats};
use crate::stop::stop_unused;
use crate::sync::{Mutex, lock};
use crate::watch::Fate;

pub(crate) use order::Order;

/// The shelf of one key.
pub(crate) struct Shelf {
    pub(crate) key: PoolKey,
    pub(crate) meter: Arc<Meter>,
    /// Everything of it that lives or is being booted or stopped.
    pub(crate) gate: Arc<Gate>,
    settings: Arc<PoolSettings>,
    /// Wakes the refiller.
    wake: Arc<Notify>,
    /// Something has failed since a sandbox was last known to work.
    is_troubled: AtomicBool,
    state: Mutex<State>,
}

struct State {
    rack: Rack<Slot<Warm>>,
    demand: Demand,
    circuit: Circuit,
    target: RangeInclusive<usize>,
    /// The target was set, so that the shelf stays.
    is_set: bool,
    /// What was asked for last, and is likely to be asked for next.
    size: Resize,
    /// How long a boot takes, as far as demand is concerned.
    lead: Duration,
    /// When somebody asked last.
    used: Instant,
}

/// A shelf at one moment.
pub(crate) struct Snapshot {
    pub(crate) view: View,
    /// The size of the next sandbox.
    pub(crate) size: Resize,
    /// When the numbers may change without anything happening.
    pub(crate) changes: Option<Instant>,
}

impl Shelf {
    /// A shelf with nothing on it.
    pub(crate) fn new(
        key: PoolKey,
        settings: &Arc<PoolSettings>,
        wake: &Arc<Notify>,
        whole: (&Arc<Gate>, &Arc<Meter>),
    ) -> Self {
        let now = Instant::now();
        let state = State {
            rack: Rack::new(),
            demand: Demand::new(now),
            circuit: Circuit::default(),
            target: settings.target.clone(),
            is_set: false,
            size: key.first_size(),
            lead: settings.lead_min,
            used: now,
        };
        Self {
            key,
            meter: Meter::part_of(whole.1),
            gate: Gate::within(whole.0),
            settings: Arc::clone(settings),
            wake: Arc::clone(wake),
            is_troubled: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Notes that somebody asks for a sandbox of this size, and gives him the one that has waited longest.
    pub(crate) fn request(&self, now: Instant, size: Resize) -> Option<Slot<Warm>> {
        let mut state = lock(&self.state);
        let State { rack, demand, lead, target, .. } = &mut *state;
        demand.request(now, *lead, *target.end());
        let slot = rack.pop();
        // What the pool could never keep warm is no reason to keep nothing warm.
        if bytes_of(size) <= self.settings.memory_max.get() {
            state.size = size;
        }
        state.used = now;
        slot
    }

    /// The sandbox that has waited longest.
    pub(crate) fn pop(&self) -> Option<Slot<Warm>> {
        lock(&self.state).rack.pop()
    }

    /// Why there was none.
    pub(crate) fn why_empty(&self) -> Cold {
        match lock(&self.state).circuit.state(&self.settings) {
            CircuitState::Open => Cold::CircuitOpen,
            CircuitState::Closed => Cold::Empty,
        }
    }

    pub(crate) fn set_target(&self, target: RangeInclusive<usize>) {
        let mut state = lock(&self.state);
        state.target = target;
        state.is_set = true;
    }

    /// When somebody asked for it last; `None` for a shelf that is to stay.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        (!state.is_set).then_some(state.used)
    }

    /// Its numbers at this moment.
    pub(crate) fn view(&self, now: Instant) -> Snapshot {
        let mut state = lock(&self.state);
        let target = state.target(now, self.settings.demand_window);
        let size = state.size;
        let view = View {
            target,
            ready: state.rack.ready(),
            booting: state.rack.awaited(),
            boots_max: state.circuit.boots_max(now),
            bytes_each: bytes_of(size),
            bytes: state.rack.bytes(),
            used: state.used,
        };
        let falls =
            (target > *state.target.start()).then(|| state.demand.falls_at(self.settings.demand_window));
        let retries = state.circuit.opens_at(now);
        Snapshot { view, size, changes: falls.into_iter().chain(retries).min() }
    }

    /// Promises a place to the boot of a sandbox of this size.
    pub(crate) fn order(self: &Arc<Self>, size: Resize) -> Option<Order> {
        let place = lock(&self.state).rack.reserve(bytes_of(size))?;
        Some(Order::new(self, place, size))
    }

    /// Stops a slot with which something is wrong, unless somebody has just taken it, who will see it himself.
    pub(crate) fn over(self: &Arc<Self>, id: u64) {
        let slot = lock(&self.state).rack.remove(id);
        drop(slot.map(|slot| self.retire(slot, Discard::Unhealthy)));
    }

    /// Takes a slot off that nobody watches any more, and kills it.
    pub(crate) fn leave(&self, id: u64) {
        let slot = lock(&self.state).rack.remove(id);
        drop(slot); // not while the lock is held
    }

    /// Takes the oldest slots off that are more than there should be.
    pub(crate) fn trim(self: &Arc<Self>, now: Instant) {
        while let Some(slot) = self.pop_surplus(now) {
            drop(self.retire(slot, Discard::Surplus));
        }
    }

    fn pop_surplus(&self, now: Instant) -> Option<Slot<Warm>> {
        let mut state = lock(&self.state);
        let target = state.target(now, self.settings.demand_window);
        let is_surplus = state.rack.ready() + state.rack.awaited() > target;
        is_surplus.then(|| state.rack.pop()).flatten()
    }

    /// Ends the shelf: what is warm is being stopped from here on, what is booting as soon as it is warm.
    pub(crate) fn close(self: &Arc<Self>, cause: Discard) -> Vec<JoinHandle<Result<()>>> {
        self.gate.close();
        let slots = lock(&self.state).rack.close();
        slots.into_iter().map(|slot| self.retire(slot, cause)).collect()
    }

    /// Ends the shelf at once: what is warm is killed.
    pub(crate) fn kill(&self) {
        self.gate.close();
        let slots = lock(&self.state).rack.close();
        drop(slots);
    }

    /// Stops a sandbox that nobody shall have: for what is wrong with it, else for this cause.
    pub(crate) fn retire(self: &Arc<Self>, slot: Slot<Warm>, cause: Discard) -> JoinHandle<Result<()>> {
        match slot.verdict(Instant::now()) {
            Ok(_) => self.discard(slot, cause, ""),
            Err(fate) => self.discard_for(slot, fate),
        }
    }

    /// Stops a sandbox with which this is wrong.
    pub(crate) fn discard_for(self: &Arc<Self>, slot: Slot<Warm>, fate: Fate) -> JoinHandle<Result<()>> {
        let (cause, why) = match fate {
            Fate::Died(Ended { cause, detail }) => (Discard::Died, format!("{cause}: {detail}")),
            Fate::Unhealthy(why) => (Discard::Unhealthy, why),
            Fate::Aged => return self.discard(slot, Discard::Aged, ""),
        };
        if !slot.has_answered() {
            self.did_not_last(&slot, &why);
        }
        self.discard(slot, cause, &why)
    }

    /// Stops a sandbox, and says why.
    pub(crate) fn discard(
        self: &Arc<Self>,
        slot: Slot<Warm>,
        cause: Discard,
        why: &str,
    ) -> JoinHandle<Result<()>> {
        self.meter.discarded(cause);
        tracing::debug!(sandbox = %slot.sandbox().name(), ?cause, why, "a warm sandbox is stopped");
        self.wake.notify_one();
        let shelf = Arc::clone(self);
        tokio::spawn(async move { stop_unused(slot, shelf.settings.stop_deadline, &shelf.meter).await })
    }

    pub(crate) fn stats(&self, now: Instant) -> KeyStats {
        let Snapshot { view, .. } = self.view(now);
        let state = lock(&self.state);
        let retry_in = state.circuit.retry_in(now);
        KeyStats {
            key: self.key.to_string(),
            warm: view.ready,
            booting: view.booting,
            target: view.target,
            target_low: *state.target.start(),
            target_high: *state.target.end(),
            memory_promised_bytes: view.bytes,
            circuit: state.circuit.state(&self.settings),
            failures_in_a_row: state.circuit.failures(),
            retry_in_ms: retry_in.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            counts: self.meter.counts(),
        }
    }
}

impl State {
    fn target(&mut self, now: Instant, window: Duration) -> usize {
        self.demand.peak(now, window).clamp(*self.target.start(), *self.target.end())
    }
}

/// What a sandbox of this size is promised. Those without a limit are not pooled.
pub(crate) fn bytes_of(size: Resize) -> u64 {
    size.memory.value().map_or(u64::MAX, ByteSize::get)
}
