//! One machine, held.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentkernel_core::{
    BackendKind, Boundary, CauseOfDeath, Ended, Error, ErrorKind, HeldGuest, Posture, Result, SandboxName,
    SandboxUsage, SnapshotName, Stopped,
};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::backend::Holdings;
use crate::backend::Keeping;
use crate::control::Control;
use crate::kept::{Kept, KeptStore};
use crate::line::Exchange;
use crate::plan::VmPlan;
use crate::posture;
use crate::renewal::Renewal;
use crate::snapshot::NewSnapshot;
use crate::state::State;
use crate::usage::{processor_time, status_bytes};
use crate::vmm::{KILL_DEADLINE, Vmm};

const TAKE: &str = "take a snapshot of the sandbox";

/// How long an agent may take to be heard again once its machine was kept.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// How long a VMM may take to end when it was asked to.
const QUIT_DEADLINE: Duration = Duration::from_secs(2);

/// A machine that runs.
pub(crate) struct VmBoundary {
    name: SandboxName,
    plan: VmPlan,
    vmm: Arc<Vmm>,
    control: tokio::sync::Mutex<Control>,
    state: Mutex<State>,
    /// Why we have ended it, if we have.
    cause: Arc<Mutex<Option<CauseOfDeath>>>,
    lifetime: watch::Sender<Option<Instant>>,
    keeper: JoinHandle<()>,
    /// Where snapshots of it are kept, and what is kept of it beside its memory.
    kept: Option<(Keeping, Kept)>,
    /// By which the agent is called anew, where its call ends with each snapshot.
    exchange: Option<Exchange>,
    /// Given up when the VMM is gone.
    holdings: Arc<Holdings>,
}

impl VmBoundary {
    pub(crate) fn new(plan: VmPlan, vmm: Vmm, control: Control, holdings: Arc<Holdings>) -> Self {
        let (vmm, cause) = (Arc::new(vmm), Arc::new(Mutex::new(None)));
        let sender = watch::Sender::new(None);
        let keeper = tokio::spawn(keep_time(Arc::clone(&vmm), Arc::clone(&cause), sender.subscribe()));
        let (control, state) = (tokio::sync::Mutex::new(control), Mutex::new(State::Booting));
        let name = plan.name.clone();
        let (kept, exchange) = (None, None);
        Self { name, plan, vmm, control, state, cause, lifetime: sender, keeper, kept, exchange, holdings }
    }

    /// The same, of which snapshots can be taken.
    pub(crate) fn kept_in(mut self, keeping: Keeping, of: Kept) -> Self {
        self.kept = Some((keeping, of));
        self
    }

    /// The same, whose agent the host calls.
    pub(crate) fn called_by(mut self, exchange: Exchange) -> Self {
        self.exchange = Some(exchange);
        self
    }

    fn kept(&self) -> Result<(KeptStore, &Kept)> {
        let refused = || {
            let hint = "set AGENTKERNEL_HOME to where they are to be";
            let why = "there is no home to keep any in";
            Error::new(ErrorKind::NotSupported, TAKE, why).on(&self.name).hint(hint)
        };
        let kept = self.kept.as_ref().and_then(|(keeping, of)| Some((keeping.store()?, of)));
        kept.ok_or_else(refused)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The posture is read of a machine whose agent has answered, and of no other.
    fn has_answered(&self) {
        let mut state = self.state();
        if *state == State::Booting {
            *state = State::Ready;
        }
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> Error {
        let (name, last) = (self.name.clone(), self.vmm.log.last_lines());
        let kind = if self.vmm.has_ended().is_some() { ErrorKind::SandboxGone } else { ErrorKind::Host };
        move |why| Error::new(kind, what, format!("{why}{last}")).on(&name)
    }

    /// Asks the VMM for one thing after which the machine is in another state; nothing if it is in that already.
    async fn change(&self, what: &'static str, next: State) -> Result<()> {
        let mut control = self.control.lock().await;
        let now = *self.state();
        if now == next {
            return Ok(());
        }
        if !now.may_become(next) {
            return Err(Error::new(ErrorKind::SandboxGone, what, format!("it is {now}")).on(&self.name));
        }
        let changed = if next == State::Paused { control.pause().await } else { control.resume().await };
        changed.map_err(self.failed(what))?;
        *self.state() = next;
        Ok(())
    }

    /// Has the machine's files written, and the way to its agent laid anew where that has ended by it.
    async fn write(
        &self,
        store: &KeptStore,
        name: &SnapshotName,
        control: &mut Control,
    ) -> Result<NewSnapshot> {
        let interruption = self.exchange.as_ref().map(Exchange::interrupt);
        let written = store.write(name, (&self.plan, &self.holdings), control).await;
        if let Some(mut interruption) = interruption {
            // Whatever came of it: what has not ended does now, so that the agent takes the next call.
            interruption.hang_up();
            let called = tokio::select! {
                called = timeout(CALL_DEADLINE, control.call_back()) => called.ok().flatten(),
                _ = self.vmm.ended() => None,
            };
            let lost =
                || self.failed(TAKE)(io::Error::other("its agent does not take the call that follows"));
            interruption.connect(called.ok_or_else(lost)?);
        }
        written
    }

    /// How it has ended.
    fn told(&self, how: &str) -> Ended {
        let cause = *self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        match cause {
            Some(CauseOfDeath::Timeout) => {
                Ended { cause: CauseOfDeath::Timeout, detail: "the sandbox's lifetime is over".into() }
            }
            Some(cause) => Ended { cause, detail: "the sandbox was stopped".into() },
            None => {
                let last = self.vmm.log.last_lines();
                Ended {
                    cause: CauseOfDeath::BoundaryCrashed,
                    detail: format!("the VMM {how} in phase {}{last}", *self.state()),
                }
            }
        }
    }
}

/// Ends the machine when its time is up.
async fn keep_time(
    vmm: Arc<Vmm>,
    cause: Arc<Mutex<Option<CauseOfDeath>>>,
    mut lifetime: watch::Receiver<Option<Instant>>,
) {
    loop {
        let until = *lifetime.borrow_and_update();
        let passes = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = passes => {
                cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(CauseOfDeath::Timeout);
                return vmm.kill();
            }
            _ = vmm.ended() => return,
            changed = lifetime.changed() => if changed.is_err() { return },
        }
    }
}

impl Drop for VmBoundary {
    fn drop(&mut self) {
        self.keeper.abort();
        self.vmm.kill();
    }
}

#[async_trait]
impl Boundary for VmBoundary {
    fn kind(&self) -> BackendKind {
        self.plan.vmm.backend()
    }

    async fn posture(&self) -> Result<Posture> {
        self.has_answered();
        let mut control = self.control.lock().await;
        let read = posture::read(&self.plan, self.vmm.worker(), &self.holdings, &mut control).await;
        read.map_err(self.failed("read the posture"))
    }

    async fn ended(&self) -> Ended {
        let how = self.vmm.ended().await;
        self.told(&how)
    }

    async fn pause(&self) -> Result<()> {
        self.change("pause the sandbox", State::Paused).await
    }

    async fn resume(&self) -> Result<()> {
        self.change("resume the sandbox", State::Ready).await
    }

    fn stops_clock(&self) -> bool {
        true
    }

    async fn set_clock(&self, guest: &dyn HeldGuest) -> Result<()> {
        let failed = || self.failed("renew the sandbox");
        let renewal = Renewal::of_the_same().map_err(failed())?;
        renewal.check(&guest.renew(&renewal.lines).await?).map(drop).map_err(failed())
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.lifetime.send_replace(Instant::now().checked_add(lifetime));
        Ok(())
    }

    async fn may_snapshot(&self, name: &SnapshotName) -> Result<()> {
        self.kept()?.0.check_free(name)?;
        match *self.state() {
            State::Ready => Ok(()),
            State::Paused => {
                let error = Error::new(ErrorKind::NotSupported, TAKE, "time stands still in it");
                Err(error.on(&self.name).hint("resume it first"))
            }
            state => Err(Error::new(ErrorKind::SandboxGone, TAKE, format!("it is {state}")).on(&self.name)),
        }
    }

    async fn snapshot(&self, name: &SnapshotName, about: &str, guest: &dyn HeldGuest) -> Result<()> {
        let (store, of) = self.kept()?;
        // Held until it is renewed: one that was paused meanwhile could not be.
        let mut control = self.control.lock().await;
        let written = self.write(&store, name, &mut control).await;
        let renewed = self.set_clock(guest).await;
        drop(control);
        renewed?;
        store.keep(written?, name, about, of.clone()).await
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        let pid = self.vmm.worker().as_raw_pid();
        let memory = |name: &str| status_bytes(pid, name);
        let (memory_bytes, memory_peak_bytes) = (memory("VmRSS"), memory("VmHWM"));
        Ok(SandboxUsage { memory_bytes, memory_peak_bytes, cpu: processor_time(pid), pids: None })
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let seen = self.vmm.has_ended().map(|how| self.told(&how).cause);
        let memory_peak_bytes = status_bytes(self.vmm.worker().as_raw_pid(), "VmHWM");
        if seen.is_none() {
            self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(CauseOfDeath::Killed);
            // Whether it answers or not: that it ends is what counts.
            let gone = async {
                if self.control.lock().await.quit().await.is_err() {
                    self.vmm.kill();
                }
                self.vmm.ended().await
            };
            if timeout(QUIT_DEADLINE, gone).await.is_err() {
                self.vmm.kill();
            }
        }
        *self.state() = State::Stopped;
        if timeout(KILL_DEADLINE, self.vmm.ended()).await.is_err() {
            let why =
                format!("the VMM, process {}, was killed and does not end", self.vmm.pid().as_raw_pid());
            return Err(Error::new(ErrorKind::Cleanup, "stop the sandbox", why).on(&self.name));
        }
        Ok(Stopped {
            cause: seen,
            out_of_memory_kills: self.vmm.log.out_of_memory_kills(),
            memory_peak_bytes,
        })
    }
}
