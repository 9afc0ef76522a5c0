//! The time between a container's start and its end: its stream, and the sandbox's deadline.

use std::time::Duration;

use agentkernel_core::{CauseOfDeath, Ended};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::argv::{self, ContainerName};
use super::cli::{Cli, SLOW_DEADLINE};
use super::stream::Call;

/// How long the program may take to end once it has closed the stream: who asks why it has waits no longer.
const CODE_WAIT: Duration = Duration::from_millis(50);

/// How often that is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A container that is watched until this is dropped.
pub(super) struct Watch {
    /// How it ended, unless it was told to.
    pub(super) ended: watch::Receiver<Option<Ended>>,
    deadline: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(cli: Cli, name: ContainerName, call: Call, lifetime: Option<Duration>) -> Self {
        let (sender, ended) = watch::channel(None);
        let deadline = watch::Sender::new(lifetime.and_then(|time| Instant::now().checked_add(time)));
        let heard = deadline.subscribe();
        let task = tokio::spawn(async move {
            let end = wait(&cli, &name, call, heard).await;
            // Nobody may want to know any more.
            sender.send(end).ok();
        });
        Self { ended, deadline, task }
    }

    /// Another deadline, from now on.
    pub(super) fn set_lifetime(&self, lifetime: Duration) {
        self.deadline.send_replace(Instant::now().checked_add(lifetime));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for its end; none if we have let go of its stream.
async fn wait(
    cli: &Cli,
    name: &ContainerName,
    mut call: Call,
    mut deadline: watch::Receiver<Option<Instant>>,
) -> Option<Ended> {
    loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            heard = &mut call.ended => return match heard {
                Ok(()) => Some(crashed(&mut call).await),
                Err(_) => None,
            },
            () = passes(until) => {
                // First, for nothing runs in a sandbox whose end was told. If it cannot be stopped, whoever removes it
                // is told why.
                tokio::select! {
                    _ = cli.ask(argv::stop(name), SLOW_DEADLINE) => {}
                    _ = &mut call.ended => {}
                }
                let detail = "the sandbox's lifetime is over".to_owned();
                return Some(Ended { cause: CauseOfDeath::Timeout, detail });
            }
            Ok(()) = deadline.changed() => {}
        }
    }
}

/// What is known of a stream that has ended by itself: the program tells nothing of why a machine went.
async fn crashed(call: &mut Call) -> Ended {
    let until = Instant::now() + CODE_WAIT;
    let status = loop {
        match call.program.has_ended() {
            Ok(None) if Instant::now() < until => tokio::time::sleep(POLL).await,
            Ok(status) => break status,
            Err(_) => break None,
        }
    };
    let how = status.map_or("has closed its streams".to_owned(), |status| format!("ended with {status}"));
    let said = call.words.text();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let detail = format!("the stream of the sandbox has ended: 'container exec' {how}{said}");
    Ended { cause: CauseOfDeath::BoundaryCrashed, detail }
}

async fn passes(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
