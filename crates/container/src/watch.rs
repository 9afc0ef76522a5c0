//! The time between a container's start and its end: what the engine tells of it, and the sandbox's deadline.

use std::time::Duration;

use agentkernel_core::{CauseOfDeath, Ended};
use agentkernel_http::Incoming;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api::{ContainerId, Engine};
use crate::stream::LastWords;

/// Longest event that is taken, bytes: one with many labels has some thousand.
const EVENT_MAX: usize = 256 << 10;

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// How it ended, unless it was told to.
    pub(crate) ended: Option<Ended>,
    /// Whether the kernel killed something inside for want of memory.
    pub(crate) out_of_memory: bool,
}

/// A container that is watched until this is dropped.
pub(crate) struct Watch {
    pub(crate) state: watch::Receiver<State>,
    deadline: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches a container that is about to be started.
    pub(crate) fn start(
        engine: Engine,
        id: ContainerId,
        events: Incoming,
        words: LastWords,
        lifetime: Option<Duration>,
    ) -> Self {
        let (sender, state) = watch::channel(State::default());
        let deadline = watch::Sender::new(lifetime.and_then(|time| Instant::now().checked_add(time)));
        let heard = deadline.subscribe();
        let events = Events { body: events, buffer: BytesMut::new() };
        let watcher = Watcher { engine, id, words, state: sender };
        Self { state, deadline, task: tokio::spawn(watcher.run(events, heard)) }
    }

    /// Another deadline, from now on.
    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.deadline.send_replace(Instant::now().checked_add(lifetime));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watcher {
    engine: Engine,
    id: ContainerId,
    words: LastWords,
    state: watch::Sender<State>,
}

impl Watcher {
    async fn run(self, mut events: Events, mut deadline: watch::Receiver<Option<Instant>>) {
        loop {
            let until = *deadline.borrow_and_update();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) if event["Action"] == "oom" => {
                        self.state.send_modify(|state| state.out_of_memory = true);
                    }
                    Some(event) if event["Action"] == "die" => {
                        let is_out_of_memory = self.state.borrow().out_of_memory;
                        return self.end(how_it_ended(&event, is_out_of_memory, &self.words.text()));
                    }
                    Some(_) => {}
                    None => return self.end(Some(crashed("the engine went away".into()))),
                },
                () = passes(until) => {
                    // First, for nothing runs in a sandbox whose end was told. If it cannot be killed, whoever stops it
                    // is told why.
                    tokio::select! {
                        _ = self.engine.kill(&self.id) => {}
                        () = events.end() => {}
                    }
                    let detail = "the sandbox's lifetime is over".to_owned();
                    return self.end(Some(Ended { cause: CauseOfDeath::Timeout, detail }));
                }
                Ok(()) = deadline.changed() => {}
            }
        }
    }

    fn end(&self, ended: Option<Ended>) {
        self.state.send_modify(|state| state.ended = ended);
    }
}

/// The agent ends with code 0 when its stream has ended: an order to stop. Every other end has a cause elsewhere.
fn how_it_ended(event: &Value, is_out_of_memory: bool, said: &str) -> Option<Ended> {
    let code = event["Actor"]["Attributes"]["exitCode"].as_str().and_then(|code| code.parse::<u8>().ok());
    let signal = code.filter(|code| *code > 128).map(|code| code - 128);
    match (code, signal) {
        (Some(0), _) => None,
        (_, Some(_)) if is_out_of_memory => {
            let detail = "the sandbox used all its memory, and the kernel killed it".to_owned();
            Some(Ended { cause: CauseOfDeath::OutOfMemory, detail })
        }
        (_, Some(signal)) => Some(crashed(format!("the guest agent was killed by signal {signal}"))),
        (Some(code), None) => {
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            Some(crashed(format!("the guest agent ended with exit code {code}{said}")))
        }
        (None, None) => Some(crashed("the engine does not tell how it ended".into())),
    }
}

fn crashed(detail: String) -> Ended {
    Ended { cause: CauseOfDeath::BoundaryCrashed, detail }
}

async fn passes(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A stream of JSON objects, each in a line.
struct Events {
    body: Incoming,
    buffer: BytesMut,
}

impl Events {
    /// Waits for the container's, or for that of the engine.
    async fn end(&mut self) {
        while self.next().await.is_some_and(|event| event["Action"] != "die") {}
    }

    /// The next one; none once the stream has ended, or is not what it should be.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).ok();
            }
            let frame = self.body.frame().await?.ok()?;
            let data = frame.into_data().unwrap_or_default();
            if self.buffer.len() + data.len() > EVENT_MAX {
                return None;
            }
            self.buffer.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_end_has_its_cause_and_an_order_to_stop_has_none() {
        let told = |code: &str, is_out_of_memory, said: &str| {
            let event = json!({"Action": "die", "Actor": {"Attributes": {"exitCode": code}}});
            how_it_ended(&event, is_out_of_memory, said).map(|ended| (ended.cause, ended.detail))
        };
        let crashed = |detail: &str| Some((CauseOfDeath::BoundaryCrashed, detail.to_owned()));
        assert_eq!(told("0", true, ""), None);
        assert_eq!(told("137", true, "").map(|(cause, _)| cause), Some(CauseOfDeath::OutOfMemory));
        assert_eq!(told("137", false, ""), crashed("the guest agent was killed by signal 9"));
        assert_eq!(
            told("2", false, "no stream"),
            crashed("the guest agent ended with exit code 2: no stream")
        );
        assert_eq!(told("", false, ""), crashed("the engine does not tell how it ended"));
    }
}
