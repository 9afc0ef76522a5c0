//! A command in a sandbox that lives on.

use agentkernel_api::{CommandRequest, CommandResult, ErrorKind, ProcessInfo, Started};
use agentkernel_core::Phases;

use super::kept::Kept;
use super::registered::{AGENT_DEADLINE, check_agent};
use super::{Client, Count, Heard, Input, Left, Silent, start};
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::Visit;

/// Runs a command, and keeps its output for the reply.
pub async fn buffered(daemon: &Daemon, visit: &Visit, request: &CommandRequest) -> Outcome<CommandResult> {
    refuse_stdin(request)?;
    let mut kept = Kept::reserve(daemon, request)?;
    let limit = kept.limit;
    let mut result = with(daemon, visit, request, limit, &mut kept, &mut Silent).await?;
    (result.stdout, result.stderr) = kept.into_words();
    Ok(result)
}

/// A reply that comes at the end has no way for stdin.
pub fn refuse_stdin(request: &CommandRequest) -> Outcome<()> {
    if request.stdin == agentkernel_api::StdinMode::None {
        return Ok(());
    }
    Err(Failure::usage("command.stdin", "nothing can be piped into a command without a stream")
        .hint("use the route that ends in /stream"))
}

/// Runs a command for a client.
pub async fn with<C: Client, I: Input>(
    daemon: &Daemon,
    visit: &Visit,
    request: &CommandRequest,
    limit: u64,
    client: &mut C,
    input: &mut I,
) -> Outcome<CommandResult> {
    if request.background {
        return Err(Failure::usage("command.background", "here somebody listens to it"));
    }
    let running = tokio::select! {
        running = start(visit, request) => running?,
        left = input.leaves() => return Err(of(left)),
    };
    let began = running.began();
    let sandbox = visit.guest().view.borrow().id.clone();
    let started = Started { sandbox: sandbox.clone(), pid: running.info.pid, origin: None, warning: None };
    client.started(started).await.map_err(of)?;
    let mut count = Count { limit, total: 0 };
    let ping_interval = daemon.limits().ping_interval;
    let heard = running.attend(visit, &mut count, client, input, ping_interval).await;
    if matches!(heard, Heard::TimedOut) {
        check_agent(visit, AGENT_DEADLINE).await;
    }
    let mut result = result(heard, count)?;
    let exec = began.elapsed();
    result.phases = convert::phases(&Phases { exec: Some(exec), total: exec, ..Phases::default() });
    result.sandbox = sandbox;
    daemon.metrics.took(&result.phases);
    Ok(result)
}

/// Starts a command that goes on by itself.
pub async fn background(visit: &Visit, request: &CommandRequest) -> Outcome<ProcessInfo> {
    Ok(start(visit, request).await?.into_background(visit))
}

/// What is told of a command.
pub fn result(heard: Heard, count: Count) -> Outcome<CommandResult> {
    let result = match heard {
        Heard::Exited(exited) => convert::exited(&exited),
        Heard::TimedOut => CommandResult { timed_out: true, ..CommandResult::default() },
        Heard::Ended(verdict) => CommandResult {
            timed_out: verdict.cause == agentkernel_api::CauseOfDeath::Timeout,
            cause: Some(verdict.cause),
            detail: Some(verdict.detail),
            ..CommandResult::default()
        },
        Heard::Lost(failure) => return Err(failure),
        Heard::Left(left) => return Err(of(left)),
    };
    Ok(CommandResult { truncated: count.total > count.limit, output_bytes: count.total, ..result })
}

/// What a client that left is told, if it can be.
pub fn of(left: Left) -> Failure {
    match left {
        Left::Gone => Failure::new(ErrorKind::Other, "run the command", "its client went away"),
        Left::Wrong(failure) => failure,
    }
}
