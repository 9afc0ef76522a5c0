//! Rules of deadlines.

use std::time::Duration;

use agentkernel_core::{CauseOfDeath, Command, ErrorKind, ExitStatus, Sandbox};

use super::context::{Context, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same};
use super::talk::{refused, run, sh, text_of, until_gone};

pub const RULES: &[Rule] = &[
    rule!(
        "time.a_timeout_kills_and_says_so",
        Needs::Nothing,
        told,
        "A command whose time is up is killed, and its end says so; others' ends do not."
    ),
    rule!(
        "time.a_timeout_kills_children",
        Needs::Nothing,
        children,
        "A timeout kills the command's children."
    ),
    rule!(
        "time.a_timeout_kills_other_sessions",
        Needs::Nothing,
        other_sessions,
        "A timeout kills descendants that have sessions of their own."
    ),
    rule!(
        "time.a_timeout_kills_orphans",
        Needs::Nothing,
        orphans,
        "A timeout kills descendants whose parents are gone."
    ),
    rule!(
        "time.a_lifetime_ends_the_sandbox",
        Needs::Nothing,
        lifetime,
        "A sandbox is killed when its lifetime is over, whatever it does, and says so."
    ),
    rule!(
        "time.no_command_starts_after_the_end",
        Needs::Nothing,
        after_the_end,
        "A sandbox that has ended refuses commands as SandboxGone."
    ),
];

/// Long enough for a shell to start its children on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(1);

fn with_timeout(script: &str, timeout: Duration) -> Command {
    Command { timeout: Some(timeout), ..sh(script) }
}

async fn told(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let deaf = "trap '' TERM INT HUP; while :; do sleep 1000; done";
    let said = run(&*sandbox, &with_timeout(deaf, Duration::from_millis(100))).await?;
    ensure!(said.exited.timed_out, "the end ({}) does not say that time was up", said.exited.status);
    said.ended_with(ExitStatus::Signal(9))?;
    let said = run(&*sandbox, &with_timeout("kill -9 $$", Duration::from_secs(1000))).await?;
    ensure!(!said.exited.timed_out, "a command that killed itself is said to have timed out");
    stop(sandbox).await.map(drop)
}

async fn children(context: &Context<'_>) -> Kept {
    killed_by_timeout(context, "sh -c 'echo $$; exec sleep 1000' & wait").await
}

async fn other_sessions(context: &Context<'_>) -> Kept {
    killed_by_timeout(context, "setsid sh -c 'echo $$; exec sleep 1000' & wait").await
}

async fn orphans(context: &Context<'_>) -> Kept {
    killed_by_timeout(context, "(setsid sh -c 'echo $$; exec sleep 1000' &); sleep 1000").await
}

/// Runs a script that prints the PIDs of its descendants until its time is up, and sees them gone.
async fn killed_by_timeout(context: &Context<'_>, script: &str) -> Kept {
    let sandbox = context.boot().await?;
    let said = run(&*sandbox, &with_timeout(script, TIMEOUT)).await?;
    ensure!(said.exited.timed_out, "the end ({}) does not say that time was up", said.exited.status);
    let pids: Vec<String> = said.text().lines().map(str::to_owned).collect();
    ensure!(!pids.is_empty(), "no descendant was started; stderr: {}", said.stderr.escape_ascii());
    until_gone(&*sandbox, &pids).await?;
    stop(sandbox).await.map(drop)
}

/// A sandbox that has ended by itself.
async fn ended(context: &Context<'_>, lifetime: Duration) -> Result<Box<dyn Sandbox>, Broken> {
    let spec = context.spec(&context.fresh_name()).lifetime(Some(lifetime));
    let sandbox = context.boot_spec(spec).await?.sandbox;
    let ended = sandbox.ended().await;
    same("cause", ended.cause, CauseOfDeath::Timeout)?;
    Ok(sandbox)
}

async fn lifetime(context: &Context<'_>) -> Kept {
    let spec = context.spec(&context.fresh_name()).lifetime(Some(TIMEOUT));
    let begin = std::time::Instant::now();
    let sandbox = context.boot_spec(spec).await?.sandbox;
    let process = sandbox.exec(&sh("trap '' TERM; while :; do sleep 1000; done")).await?;
    let (ended, said) = tokio::join!(sandbox.ended(), super::talk::finish(process));
    same("cause", ended.cause, CauseOfDeath::Timeout)?;
    ensure!(begin.elapsed() >= TIMEOUT, "it ended after {:?} already", begin.elapsed());
    // Its command ends with it, by signal 9 or by an error.
    if let Ok(said) = said {
        said.ended_with(ExitStatus::Signal(9))?;
    }
    same("cause, when stopped", stop(sandbox).await?.cause, Some(CauseOfDeath::Timeout))
}

async fn after_the_end(context: &Context<'_>) -> Kept {
    let sandbox = ended(context, Duration::from_millis(500)).await?;
    refused("a command", sandbox.exec(&sh("echo ran")).await, ErrorKind::SandboxGone)?;
    refused("a ping", sandbox.ping().await, ErrorKind::SandboxGone)?;
    stop(sandbox).await?;
    // Whoever is next is not concerned.
    let next = context.boot().await?;
    same("output", text_of(&*next, "echo works").await?, "works".to_owned())?;
    stop(next).await.map(drop)
}
