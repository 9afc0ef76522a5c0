//! A sandbox: a helper with a machine, and the commands that run in it, one at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentkernel_core::{
    BackendKind, Call, CauseOfDeath, Command, Ended, Error, ErrorKind, Files, NoFiles, Posture, Process,
    Result, Returned, Sandbox, SandboxName, SandboxSpec, SandboxUsage, Stopped,
};
use agentkernel_process::OwnId;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::helper::{Hearing, Helper, Made};
use crate::{call, posture, process};

/// A sandbox of one machine. Dropping it ends the helper, and the machine with it.
pub(crate) struct HyperlightSandbox {
    name: SandboxName,
    house: Arc<House>,
    /// Ends it when its time is up.
    timer: Mutex<Option<AbortHandle>>,
}

/// What its commands share.
pub(crate) struct House {
    pub(crate) helper: Helper,
    pub(crate) hearing: Arc<tokio::sync::Mutex<Hearing>>,
    wanted_mib: usize,
    has_mib: usize,
    /// Whom the helper has become; nobody else does as long as it lives.
    user: Option<OwnId>,
    /// Whether its machine runs a Wasm module, and no programs.
    pub(crate) has_module: bool,
    /// Why it ended.
    end: watch::Sender<Option<Ended>>,
}

impl House {
    pub(crate) fn new(made: Made, wanted_mib: usize, has_module: bool) -> Self {
        let Made { helper, hearing, has_mib, user } = made;
        let hearing = Arc::new(tokio::sync::Mutex::new(hearing));
        Self { helper, hearing, wanted_mib, has_mib, user, has_module, end: watch::channel(None).0 }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        match &*self.end.borrow() {
            None => Ok(()),
            Some(ended) => Err(Error::new(ErrorKind::SandboxGone, "use the sandbox", &ended.detail)),
        }
    }

    /// What the host says of it.
    pub(crate) fn posture(&self) -> Result<Posture> {
        posture::read(self.helper.pid(), self.user.as_ref().map(OwnId::get), self.wanted_mib, self.has_mib)
    }

    /// Waits until it has ended.
    pub(crate) async fn closed(&self) {
        // The sender is here, so that this cannot fail.
        drop(self.end.subscribe().wait_for(Option::is_some).await);
    }

    /// Its helper is gone, or does not do what it should: so is the sandbox.
    pub(crate) fn lose(&self) {
        self.close(CauseOfDeath::Killed, "its helper program ended");
    }

    /// Ends it, for this reason unless there was one.
    pub(crate) fn close(&self, cause: CauseOfDeath, detail: &str) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert_with(|| Ended { cause, detail: detail.to_owned() });
            is_first
        });
        self.helper.kill();
    }
}

impl HyperlightSandbox {
    pub(crate) fn new(spec: &SandboxSpec, house: House) -> Self {
        let sandbox = Self { name: spec.name().clone(), house: Arc::new(house), timer: Mutex::default() };
        if let Some(lifetime) = spec.lifetime() {
            sandbox.live_for(lifetime);
        }
        sandbox
    }

    fn live_for(&self, lifetime: Duration) {
        let house = Arc::clone(&self.house);
        let timer = tokio::spawn(async move {
            sleep(lifetime).await;
            house.close(CauseOfDeath::Timeout, "its time was up");
        });
        self.set_timer(Some(timer.abort_handle()));
    }

    fn set_timer(&self, timer: Option<AbortHandle>) {
        let mut slot = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *slot, timer) {
            before.abort();
        }
    }
}

impl Drop for HyperlightSandbox {
    fn drop(&mut self) {
        self.set_timer(None);
        self.house.close(CauseOfDeath::Killed, "it was stopped");
    }
}

#[async_trait]
impl Sandbox for HyperlightSandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Hyperlight
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        let started = process::start(&self.house, command).await?;
        Ok(Box::new(started))
    }

    async fn call(&self, call: &Call) -> Result<Returned> {
        call::call(&self.house, call).await
    }

    fn files(&self) -> &dyn Files {
        &NoFiles("what a command writes is gone with its machine")
    }

    async fn ping(&self) -> Result<Duration> {
        // There is no agent while no command runs.
        let began = Instant::now();
        self.house.check_open()?;
        Ok(began.elapsed())
    }

    async fn posture(&self) -> Result<Posture> {
        self.house.check_open()?;
        self.house.posture()
    }

    async fn ended(&self) -> Ended {
        self.house.closed().await;
        let ended = self.house.end.borrow().clone();
        ended.unwrap_or(Ended { cause: CauseOfDeath::Killed, detail: "it was stopped".into() })
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.live_for(lifetime);
        Ok(())
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        self.house.check_open()?;
        Ok(SandboxUsage { memory_bytes: self.house.helper.memory_bytes(), ..SandboxUsage::default() })
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let cause = self.house.end.borrow().as_ref().map(|ended| ended.cause);
        self.house.close(CauseOfDeath::Killed, "it was stopped");
        Ok(Stopped { cause, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}
