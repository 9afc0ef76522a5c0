//! One container, held.

use std::time::Duration;

use agentkernel_core::{
    BackendKind, Boundary, CauseOfDeath, Ended, Error, ErrorKind, Posture, Result, SandboxUsage, Stopped,
};
use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use super::argv;
use super::cli::{ANSWER_DEADLINE, SLOW_DEADLINE, Trouble};
use super::posture::{Expected, Report};
use super::reaper::Doomed;
use super::watch::Watch;

/// How long to wait before it is asked again whether a container is gone.
const POLL: Duration = Duration::from_millis(50);

/// A container of Apple's.
pub(super) struct AppleBoundary {
    container: Doomed,
    watch: Watch,
    expected: Expected,
}

impl AppleBoundary {
    pub(super) fn new(container: Doomed, watch: Watch, expected: Expected) -> Self {
        Self { container, watch, expected }
    }

    fn failed(&self, what: &'static str) -> impl Fn(Trouble) -> Error {
        let name = self.expected.spec().name().clone();
        move |why| why.error(what).on(&name)
    }

    /// Removes it, and waits until the program does not know it any more. While it does so by itself, as it does when the
    /// agent has ended, it may refuse to be asked.
    async fn take_down(&self) -> Result<(), String> {
        let (cli, name) = (self.container.cli(), self.container.name());
        let until = Instant::now() + cli.at_most(SLOW_DEADLINE);
        loop {
            let deleted = cli.ask(argv::delete(name), SLOW_DEADLINE).await;
            if deleted.as_ref().is_err_and(Trouble::is_not_found) {
                return Ok(());
            }
            match (cli.inspect(name).await, deleted) {
                (Ok(None), _) => return Ok(()),
                (Err(Trouble::NoAnswer(why)), _) | (_, Err(Trouble::NoAnswer(why))) => return Err(why),
                (Err(why), _) | (_, Err(why)) if Instant::now() >= until => return Err(why.to_string()),
                (Ok(Some(_)), Ok(_)) if Instant::now() >= until => {
                    return Err("the program does not remove it".into());
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}

#[async_trait]
impl Boundary for AppleBoundary {
    fn kind(&self) -> BackendKind {
        BackendKind::Apple
    }

    async fn posture(&self) -> Result<Posture> {
        const WHAT: &str = "read the posture";
        let (cli, name) = (self.container.cli(), self.container.name());
        let asked = tokio::join!(
            cli.inspect(name),
            cli.ask(argv::report(name, argv::caller(self.expected.spec())), ANSWER_DEADLINE)
        );
        let inspected = asked.0.map_err(self.failed(WHAT))?.unwrap_or(Value::Null);
        let report = asked.1.map_err(self.failed(WHAT))?;
        let report = Report::parse(&report).map_err(|why| self.failed(WHAT)(Trouble::Refused(why)))?;
        Ok(self.expected.check(&inspected, &report))
    }

    async fn ended(&self) -> Ended {
        let mut ended = self.watch.ended.clone();
        let ended = match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        ended.unwrap_or_else(|| Ended {
            cause: CauseOfDeath::Killed,
            detail: "the sandbox was stopped".into(),
        })
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.watch.set_lifetime(lifetime);
        Ok(())
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        let stats = argv::stats(self.container.name());
        let stats = self.container.cli().ask_json(stats, ANSWER_DEADLINE).await;
        let stats = stats.map_err(self.failed("measure the sandbox"))?;
        let number = |name: &str| stats[0][name].as_u64();
        Ok(SandboxUsage {
            memory_bytes: number("memoryUsageBytes"),
            memory_peak_bytes: None,
            cpu: number("cpuUsageUsec").map(Duration::from_micros),
            pids: number("numProcesses"),
        })
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let ended = self.watch.ended.borrow().clone();
        let taken_down = self.take_down().await;
        let Self { container, expected, .. } = *self;
        match taken_down {
            Ok(()) => container.forget(),
            Err(why) => {
                container.leave();
                return Err(Error::new(ErrorKind::Cleanup, "stop the sandbox", why)
                    .on(expected.spec().name())
                    .hint("once 'container' answers, the next start of agentkernel removes its container"));
            }
        }
        // The program does not tell what ran out of memory, nor of the most that was used.
        Ok(Stopped { cause: ended.map(|ended| ended.cause), out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}
