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

/// An engine that ends every stream at once is not asked more often than this; and one that is gone is told as that at once, for
/// whoever lost the sandbox does not wait for the reason for long.
const BETWEEN_LISTENINGS: Duration = Duration::from_millis(100);

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
        let mut next_listening = Instant::now();
        loop {
            let until = *deadline.borrow_and_update();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) if event["Action"] == "oom" => {
                        self.state.send_modify(|state| state.out_of_memory = true);
                    }
                    Some(event) if event["Action"] == "die" => {
                        let is_out_of_memory = self.state.borrow().out_of_memory;
                        return self.end(how_it_ended(exit_code(&event), is_out_of_memory, &self.words.text()));
                    }
                    Some(_) => {}
                    None => {
                        tokio::time::sleep_until(next_listening).await;
                        next_listening = Instant::now() + BETWEEN_LISTENINGS;
                        match self.listen_again().await {
                            Ok(again) => events = again,
                            Err(ended) => return self.end(ended),
                        }
                    }
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

    /// The events from now on, where an engine has cut the stream and its container runs all the same (Podman 4.3 does
    /// so, rarely); or how it ended.
    async fn listen_again(&self) -> Result<Events, Option<Ended>> {
        let gone = |_| Some(crashed("the engine went away".into()));
        // First, so that an end after the question is heard.
        let body = self.engine.events(&self.id).await.map_err(gone)?;
        let container = self.engine.inspect(self.id.as_str()).await.map_err(gone)?;
        let state = &container["State"];
        if state["Running"] == true {
            return Ok(Events { body, buffer: BytesMut::new() });
        }
        let is_out_of_memory = self.state.borrow().out_of_memory || state["OOMKilled"] == true;
        let code = state["ExitCode"].as_u64().and_then(|code| u8::try_from(code).ok());
        Err(how_it_ended(code, is_out_of_memory, &self.words.text()))
    }

    fn end(&self, ended: Option<Ended>) {
        self.state.send_modify(|state| state.ended = ended);
    }
}

fn exit_code(event: &Value) -> Option<u8> {
    event["Actor"]["Attributes"]["exitCode"].as_str()?.parse().ok()
}

/// The agent ends with code 0 when its stream has ended: an order to stop. Every other end has a cause elsewhere.
fn how_it_ended(code: Option<u8>, is_out_of_memory: bool, said: &str) -> Option<Ended> {
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
mod tests;
