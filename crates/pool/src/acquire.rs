//! How a request gets its sandbox.
//!
//! The warm way takes two locks for some nanoseconds each and waits for nothing, unless the sandbox has
//! not answered lately or is to have another size. The cold way waits for its turn and for the boot.

use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind, Phases, Resize, Result, SandboxSpec};
use tokio::sync::{Notify, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::lease::{Cold, Lease, Origin};
use crate::pool::{Pool, Shared};
use crate::refill::too_slow;
use crate::settings::PoolSettings;
use crate::shelf::Shelf;
use crate::shelves::{Found, closed};
use crate::slot::{Slot, Warm};
use crate::stats::Discard;
use crate::stop::stop_unused;
use crate::watch::{Known, ping};

impl Pool {
    /// A sandbox as described, warm if there is one, else booted at once; the lease says which and why.
    ///
    /// A cold sandbox has the name of the spec, a warm one has its own. Dropping the future leaves nothing.
    pub async fn acquire(&self, spec: &SandboxSpec) -> Result<Lease> {
        let request = Request { spec, began: Instant::now() };
        let shared = &*self.shared;
        if let Err(why) = shared.rules.check(spec) {
            return shared.cold(request, None, Cold::NotPoolable(why)).await;
        }
        let (shelf, is_new) = match shared.find_for(spec)? {
            Found::Old(shelf) => (shelf, false),
            Found::New(shelf, _) => (shelf, true),
            Found::NoRoom => return shared.cold(request, None, Cold::NoShelf).await,
        };
        let mut slot = shelf.request(request.began, Resize::from(spec.limits()));
        let known = slot.as_ref().and_then(|slot| shared.needs_nothing(request, slot));
        if let Some(known) = known
            && let Some(slot) = slot.take()
        {
            shared.wake.notify_one();
            return Ok(shared.leased(request, &shelf, slot, known));
        }
        match shared.warm(request, &shelf, slot, request.began).await {
            Ok(lease) => Ok(lease),
            Err(why) => {
                shared.wake.notify_one();
                shared.cold(request, Some(&shelf), if is_new { Cold::New } else { why }).await
            }
        }
    }
}

/// What was asked for, and when.
#[derive(Clone, Copy)]
struct Request<'a> {
    spec: &'a SandboxSpec,
    began: Instant,
}

impl Shared {
    /// This sandbox or the next with which nothing is wrong, or why there is none.
    async fn warm(
        &self,
        request: Request<'_>,
        shelf: &Arc<Shelf>,
        mut slot: Option<Slot<Warm>>,
        now: Instant,
    ) -> Result<Lease, Cold> {
        loop {
            let Some(one) = slot else { return Err(shelf.why_empty()) };
            match one.verdict(now) {
                Ok(known) => return self.lease(request, shelf, one, known).await,
                Err(fate) => drop(shelf.discard_for(one, fate)),
            }
            slot = shelf.pop();
        }
    }

    /// What is known of a sandbox that can be given away at once.
    fn needs_nothing(&self, request: Request<'_>, slot: &Slot<Warm>) -> Option<Known> {
        let known = slot.still(request.began)?;
        (self.is_fit(slot, known, request.spec) && !self.gate.is_closed()).then_some(known)
    }

    /// Gives a sandbox to whoever asked. One that is not fit for it is his last try: he has waited enough.
    async fn lease(
        &self,
        request: Request<'_>,
        shelf: &Arc<Shelf>,
        slot: Slot<Warm>,
        known: Known,
    ) -> Result<Lease, Cold> {
        // Whatever becomes of it, also if nobody waits any more: it is no longer on its shelf.
        self.wake.notify_one();
        if !self.is_fit(&slot, known, request.spec)
            && let Err(why) = self.fit(&slot, known, request.spec).await
        {
            drop(shelf.discard(slot, Discard::Unhealthy, &why));
            return Err(Cold::Unfit);
        }
        if self.gate.is_closed() {
            drop(shelf.discard(slot, Discard::Drained, ""));
            return Err(Cold::Empty);
        }
        Ok(self.leased(request, shelf, slot, known))
    }

    fn leased(&self, request: Request<'_>, shelf: &Shelf, slot: Slot<Warm>, known: Known) -> Lease {
        let slot = slot.lease();
        let acquire = request.began.elapsed();
        shelf.meter.hit(acquire);
        shelf.proven();
        let phases = Phases { acquire: Some(acquire), total: acquire, ..Phases::default() };
        Lease::new(slot, Origin::Warm { age: known.age }, phases)
    }

    /// Whether there is nothing to do before it is given away.
    fn is_fit(&self, slot: &Slot<Warm>, known: Known, spec: &SandboxSpec) -> bool {
        known.checked <= self.settings.checked_within
            && slot.size() == Resize::from(spec.limits())
            && spec.host_socket().is_none()
    }

    /// Makes sure that a sandbox answers, and gives it the size and the socket that were asked for.
    async fn fit(&self, slot: &Slot<Warm>, known: Known, spec: &SandboxSpec) -> Result<(), String> {
        let deadline = self.settings.check_deadline;
        let size = Resize::from(spec.limits());
        if known.checked > self.settings.checked_within {
            ping(slot.sandbox(), deadline).await?;
        }
        if slot.size() != size {
            let resized = timeout(deadline, slot.sandbox().resize(&size)).await;
            let slow = |_| format!("it was not resized within {} ms", deadline.as_millis());
            resized.map_err(slow)?.map_err(|error| error.to_string())?;
        }
        if let Some(socket) = spec.host_socket() {
            let opened = timeout(deadline, slot.sandbox().open_socket(socket)).await;
            let slow = |_| format!("its socket was not made within {} ms", deadline.as_millis());
            opened.map_err(slow)?.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// A sandbox that is booted for this request.
    async fn cold(&self, request: Request<'_>, shelf: Option<&Arc<Shelf>>, why: Cold) -> Result<Lease> {
        let queued = Instant::now();
        let (turn, has_waited) = self.turn().await?;
        let queue = queued.elapsed();
        // Meanwhile a refill may have come in.
        if let Some(shelf) = shelf.filter(|_| has_waited)
            && let Ok(mut lease) = self.warm(request, shelf, shelf.pop(), Instant::now()).await
        {
            lease.phases.queue = Some(queue);
            lease.phases.acquire = Some(request.began.elapsed().saturating_sub(queue));
            return Ok(lease);
        }
        let slot = self.boot_now(request.spec, shelf).await?;
        drop(turn);
        let times = slot.times();
        let phases = Phases {
            queue: Some(queue),
            boot: Some(times.boot),
            ready: Some(times.ready),
            total: request.began.elapsed(),
            ..Phases::default()
        };
        Ok(Lease::new(slot.lease(), Origin::Cold { why }, phases))
    }

    /// Waits for a turn to boot, and tells whether it had to.
    async fn turn(&self) -> Result<(Turn<'_>, bool)> {
        let turn = |permit| Turn { permit: Some(permit), wake: &self.wake };
        if self.gate.is_closed() {
            return Err(closed());
        }
        if let Ok(permit) = self.colds.try_acquire() {
            return Ok((turn(permit), false));
        }
        tokio::select! {
            biased;
            () = self.gate.closed() => Err(closed()),
            permit = timeout(self.settings.queue_wait_max, self.colds.acquire()) => match permit {
                Ok(Ok(permit)) => Ok((turn(permit), true)),
                Ok(Err(_)) => Err(closed()),
                Err(_) => Err(no_turn(&self.settings)),
            },
        }
    }

    async fn boot_now(&self, spec: &SandboxSpec, shelf: Option<&Arc<Shelf>>) -> Result<Slot<Warm>> {
        let meter = shelf.map_or(&self.meter, |shelf| &shelf.meter);
        let deadline = self.settings.boot_deadline;
        let boot = Slot::boot(&*self.backend, spec, self.gate.enter());
        let booted = timeout(deadline, boot).await.unwrap_or_else(|_| Err(too_slow(deadline)));
        let slot = booted.inspect_err(|error| meter.boot_failed(error))?;
        meter.booted(slot.times());
        shelf.inspect(|shelf| shelf.booted());
        if self.gate.is_closed() {
            drop(stop_unused(slot, self.settings.stop_deadline, meter).await);
            return Err(closed());
        }
        meter.miss();
        Ok(slot)
    }
}

/// The right to boot one sandbox now; refills wait for it to be given back.
struct Turn<'a> {
    permit: Option<SemaphorePermit<'a>>,
    wake: &'a Notify,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.wake.notify_one();
    }
}

fn no_turn(settings: &PoolSettings) -> Error {
    let (colds_max, waited) = (settings.colds_max, settings.queue_wait_max.as_secs());
    let why = format!("{colds_max} sandboxes are being booted, and no turn came within {waited} s");
    Error::new(ErrorKind::Timeout, "acquire a sandbox", why)
}
