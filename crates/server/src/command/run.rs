//! One command in a sandbox of its own.

use std::sync::Arc;
use std::time::Instant;

use agentkernel_api::{CauseOfDeath, CommandResult, RunRequest, Started};
use agentkernel_core::{ExitStatus, Phases};
use tokio::time::timeout;

use super::exec::{of, refuse_stdin, result};
use super::kept::Kept;
use super::{Client, Count, Heard, Input, Silent, start};
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::Guest;
use crate::make::{Order, make};

const SIGKILL: u8 = 9;

/// Runs a command, and keeps its output for the reply.
pub async fn buffered(daemon: &Arc<Daemon>, owner: &str, request: RunRequest) -> Outcome<CommandResult> {
    refuse_stdin(&request.command)?;
    let mut kept = Kept::reserve(daemon, &request.command)?;
    let limit = kept.limit;
    let mut result = with(daemon, owner, request, limit, &mut kept, &mut Silent).await?;
    (result.stdout, result.stderr) = kept.into_words();
    Ok(result)
}

/// Runs a command for a client. Whatever happens, its sandbox ends: dropping this future is enough. The reply does
/// not wait for that, unless it needs to know whether memory ran out.
pub async fn with<C: Client, I: Input>(
    daemon: &Arc<Daemon>,
    owner: &str,
    request: RunRequest,
    limit: u64,
    client: &mut C,
    input: &mut I,
) -> Outcome<CommandResult> {
    let began = Instant::now();
    daemon.rush.stir();
    if request.command.background {
        return Err(Failure::usage("command.background", "a run ends with its command"));
    }
    let RunRequest { sandbox, command } = request;
    let order = Order { owner: owner.to_owned(), request: sandbox, run: true, id: None, from: None };
    let (guest, guard) = tokio::select! {
        made = make(daemon, order) => made?,
        left = input.leaves() => return Err(of(left)),
    };
    let exec_began = Instant::now();
    let mut count = Count { limit, total: 0 };
    let attended = attend(daemon, &guest, &command, &mut count, client, input).await;
    let heard = attended.inspect_err(|failure| {
        guest.fate.decide(CauseOfDeath::Killed, format!("its command did not run: {}", failure.error));
    })?;
    let exec = exec_began.elapsed();
    daemon.rush.stir();
    let ordered = decide(&guest, &heard);
    let mut result = result(heard, count)?;
    drop(guard);
    finish(daemon, &guest, &mut result, ordered).await;
    result.phases = phases(&guest, exec, began);
    daemon.metrics.took(&result.phases);
    Ok(result)
}

/// Starts the command and listens to it.
async fn attend<C: Client, I: Input>(
    daemon: &Daemon,
    guest: &Guest,
    command: &agentkernel_api::CommandRequest,
    count: &mut Count,
    client: &mut C,
    input: &mut I,
) -> Outcome<Heard> {
    let visit = guest.enter()?;
    let running = tokio::select! {
        running = start(&visit, command) => running?,
        left = input.leaves() => return Err(of(left)),
    };
    let (sandbox, origin, warning) = {
        let view = guest.view.borrow();
        (view.id.clone(), view.origin, view.warning.clone())
    };
    client.started(Started { sandbox, pid: running.info.pid, origin, warning }).await.map_err(of)?;
    Ok(running.attend(&visit, count, client, input, daemon.limits().ping_interval).await)
}

/// Ends the sandbox of a command that has ended. Whether its end has to be waited for to know its cause.
fn decide(guest: &Guest, heard: &Heard) -> bool {
    match heard {
        Heard::Exited(exited) if exited.timed_out => {
            guest.fate.decide(CauseOfDeath::Timeout, "its time was up");
        }
        Heard::Exited(exited) if was_killed(exited.status) => {
            guest.fate.suspect(CauseOfDeath::Exited, "its command was killed");
            return true;
        }
        Heard::Exited(exited) => guest.fate.decide(CauseOfDeath::Exited, exited.status.to_string()),
        Heard::TimedOut => guest.fate.decide(CauseOfDeath::Timeout, "its time was up"),
        // Whoever ended it has said why, and the guard says the rest.
        Heard::Ended(_) => return true,
        Heard::Lost(failure) => guest.fate.suspect(CauseOfDeath::BoundaryCrashed, failure.error.to_string()),
        Heard::Left(_) => {}
    }
    false
}

/// Says why the sandbox ended.
async fn finish(daemon: &Daemon, guest: &Guest, result: &mut CommandResult, wait: bool) {
    let mut view = guest.view.clone();
    if wait {
        let ended = view.wait_for(|sandbox| sandbox.state == agentkernel_api::State::Ended);
        drop(timeout(daemon.limits().stop_deadline, ended).await);
    }
    let sandbox = view.borrow();
    let verdict = guest.fate.verdict();
    result.cause = sandbox.cause.or(verdict.as_ref().map(|verdict| verdict.cause));
    result.detail = sandbox.detail.clone().or(verdict.map(|verdict| verdict.detail));
    result.sandbox.clone_from(&sandbox.id);
    result.origin = sandbox.origin;
    result.timed_out |= result.cause == Some(CauseOfDeath::Timeout);
}

/// Where the time has gone of a sandbox that was made for one thing, which took `exec` of what there was since `began`.
pub fn phases(guest: &Guest, exec: std::time::Duration, began: Instant) -> agentkernel_api::Phases {
    let made = guest.view.borrow().phases.clone();
    let time = |ns: Option<u64>| ns.map(std::time::Duration::from_nanos);
    convert::phases(&Phases {
        queue: time(made.queue_ns),
        acquire: time(made.acquire_ns),
        boot: time(made.boot_ns),
        ready: time(made.ready_ns),
        exec: Some(exec),
        stop: time(made.stop_ns),
        total: began.elapsed(),
    })
}

/// Whether the command, or the child whose status a shell passed on, died by SIGKILL.
fn was_killed(status: ExitStatus) -> bool {
    matches!(status, ExitStatus::Signal(SIGKILL)) || status == ExitStatus::Code(128 + SIGKILL)
}
