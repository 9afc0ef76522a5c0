//! One container, held.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentkernel_cgroup::Membership;
use agentkernel_core::{
    BackendKind, Boundary, CauseOfDeath, Ended, Error, ErrorKind, Limit, Posture, Resize, Result,
    SandboxUsage, Stopped,
};
use agentkernel_http::StatusCode;
use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Engine, SLOW_DEADLINE};
use crate::owner::ProcessId;
use crate::plan;
use crate::posture::Expected;
use crate::reaper::Doomed;
use crate::trouble::Trouble;
use crate::watch::Watch;

/// How long to wait before it is asked again whether a container is gone.
const POLL: Duration = Duration::from_millis(10);

/// A container of the engine's.
pub(crate) struct ContainerBoundary {
    engine: Engine,
    container: Doomed,
    watch: Watch,
    /// Its first process, where the engine runs on this host and gives it a control group.
    init: Option<ProcessId>,
    group: Option<Membership>,
    expected: Mutex<Expected>,
}

impl ContainerBoundary {
    pub(crate) fn new(
        engine: Engine,
        container: Doomed,
        watch: Watch,
        init: Option<ProcessId>,
        group: Option<Membership>,
        expected: Expected,
    ) -> Self {
        Self { engine, container, watch, init, group, expected: Mutex::new(expected) }
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        // Nothing that is done under the lock can panic halfway.
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &'static str) -> impl Fn(Trouble) -> Error {
        let name = self.expected().spec().name().clone();
        let known = self.engine.known.clone();
        move |why| why.error(&known, what).on(&name)
    }

    async fn inspect(&self) -> Result<Value> {
        self.engine.inspect(self.container.id().as_str()).await.map_err(self.failed("inspect the sandbox"))
    }

    /// Removes it, and waits until the engine does not know it any more. While it does so by itself, as it does when the
    /// agent has ended, it may refuse to be asked, and Podman fails to read what it is just removing.
    async fn take_down(&self) -> Result<(), String> {
        let until = Instant::now() + SLOW_DEADLINE;
        loop {
            let removed = self.engine.remove(self.container.id()).await;
            let found = match removed {
                Ok(()) => self.engine.inspect(self.container.id().as_str()).await.map(drop),
                refused => refused,
            };
            match found {
                Err(why) if why.is(StatusCode::NOT_FOUND) => return Ok(()),
                Err(Trouble::NoAnswer(why)) => {
                    self.kill_ourselves();
                    return Err(why.to_string());
                }
                Err(why) if Instant::now() >= until => return Err(why.to_string()),
                Ok(()) if Instant::now() >= until => return Err("the engine does not remove it".into()),
                Ok(()) | Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// An engine that is gone removes nothing. What ran in the container must not run on.
    fn kill_ourselves(&self) {
        if let Some(init) = self.init.filter(|init| init.is_alive())
            && let Some(pid) = rustix::process::Pid::from_raw(init.pid)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

#[async_trait]
impl Boundary for ContainerBoundary {
    fn kind(&self) -> BackendKind {
        self.engine.kind()
    }

    async fn posture(&self) -> Result<Posture> {
        let inspected = self.inspect().await?;
        let (expected, group) = (self.expected().clone(), self.group.clone());
        let read = tokio::task::spawn_blocking(move || expected.check(&inspected, group.as_ref()));
        read.await.map_err(|why| Error::new(ErrorKind::Internal, "read the posture", why))
    }

    async fn ended(&self) -> Ended {
        let mut state = self.watch.state.clone();
        let ended = match state.wait_for(|state| state.ended.is_some()).await {
            Ok(state) => state.ended.clone(),
            Err(_) => None,
        };
        ended.unwrap_or_else(|| Ended {
            cause: CauseOfDeath::Killed,
            detail: "the sandbox was stopped".into(),
        })
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        const WHAT: &str = "resize the sandbox";
        let was = self.expected().clone();
        let refused = |why: &str| Error::new(ErrorKind::ControlRefused, WHAT, why).on(was.spec().name());
        let limits = was.spec().limits();
        let is_given_up = |is_limited: bool, was_limited: bool| was_limited && !is_limited;
        // An update without a limit leaves the old one.
        if is_given_up(to.memory != Limit::Unlimited, limits.memory != Limit::Unlimited)
            || is_given_up(to.cpus != Limit::Unlimited, limits.cpus != Limit::Unlimited)
        {
            return Err(refused("an engine gives no limit of a live container up").hint("name a high one"));
        }
        let expected = was.resized(was.spec().clone().with_size(*to));
        let update = plan::update(self.engine.kind(), expected.spec().limits());
        let updated = self.engine.update(self.container.id(), update).await;
        updated.map_err(|why| refused(&why.to_string()))?;
        *self.expected() = expected;
        let posture = self.posture().await?;
        let broken: Vec<_> = posture.broken().map(|control| control.name.clone()).collect();
        if broken.is_empty() {
            Ok(())
        } else {
            Err(refused(&format!("it does not hold: {}", broken.join(", "))))
        }
    }

    async fn pause(&self) -> Result<()> {
        self.engine.pause(self.container.id(), true).await.map_err(self.failed("pause the sandbox"))
    }

    async fn resume(&self) -> Result<()> {
        let inspected = self.inspect().await?;
        if inspected["State"]["Paused"] != true {
            return Ok(());
        }
        self.engine.pause(self.container.id(), false).await.map_err(self.failed("resume the sandbox"))
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.watch.set_lifetime(lifetime);
        Ok(())
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        let stats =
            self.engine.stats(self.container.id()).await.map_err(self.failed("measure the sandbox"))?;
        let number = |value: &Value| value.as_u64();
        let peak = self.group.as_ref().and_then(Membership::memory_peak);
        Ok(SandboxUsage {
            memory_bytes: number(&stats["memory_stats"]["usage"]),
            memory_peak_bytes: peak.or_else(|| number(&stats["memory_stats"]["max_usage"])),
            cpu: number(&stats["cpu_stats"]["cpu_usage"]["total_usage"]).map(Duration::from_nanos),
            pids: number(&stats["pids_stats"]["current"]),
        })
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let state = self.watch.state.borrow().clone();
        let kills = self.group.as_ref().map_or(0, Membership::out_of_memory_kills);
        let memory_peak_bytes = self.group.as_ref().and_then(Membership::memory_peak);
        let taken_down = self.take_down().await;
        let name = self.expected().spec().name().clone();
        self.container.forget();
        taken_down.map_err(|why| {
            Error::new(ErrorKind::Cleanup, "stop the sandbox", why)
                .on(name)
                .hint("once the engine answers, the next start of agentkernel removes its container")
        })?;
        Ok(Stopped {
            cause: state.ended.map(|ended| ended.cause),
            out_of_memory_kills: kills.max(state.out_of_memory.into()),
            memory_peak_bytes,
        })
    }
}
