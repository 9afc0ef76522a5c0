//! Rules of signals to commands, and of letting go of them.

use agentkernel_core::{ExitStatus, SignalTarget};

use super::context::{Context, stop};
use super::rule::{Kept, Needs, Rule, ensure, rule};
use super::talk::{finish, sh, until, until_gone};

pub const RULES: &[Rule] = &[
    rule!(
        "signals.reach_the_process",
        Needs::Nothing,
        process,
        "A signal reaches the command's first process, and that one alone."
    ),
    rule!(
        "signals.reach_the_group",
        Needs::Nothing,
        group,
        "A signal to the group reaches every process of it."
    ),
    rule!("signals.kill", Needs::Nothing, kill, "Signal 9 ends a command that ignores every other signal."),
    rule!(
        "signals.dropping_a_command_kills_it",
        Needs::Nothing,
        dropping,
        "Dropping a running command kills it."
    ),
    rule!(
        "signals.after_the_end_are_ignored",
        Needs::Nothing,
        after_the_end,
        "What is said to a command after its end is ignored."
    ),
];

const TERM: u8 = 15;
const KILL: u8 = 9;

/// A parent and a child, each of which says that it got the signal. The child's `ready` comes after
/// both traps are set. The parent waits for the child only if the child gets the signal as well.
fn family(parent_trap: &str) -> String {
    format!(
        "trap '{parent_trap}' TERM; \
         (trap 'echo child; exit 0' TERM; sleep 1000 & echo ready; wait) & \
         wait; wait"
    )
}

async fn process(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&sh(&family("echo parent; exit 4"))).await?;
    until(&mut *process, "ready").await?;
    process.control().signal(TERM, SignalTarget::Process).await?;
    let said = finish(process).await?;
    said.ended_with(ExitStatus::Code(4))?;
    let text = said.text();
    ensure!(text.contains("parent") && !text.contains("child"), "the signal reached: {text:?}");
    stop(sandbox).await.map(drop)
}

async fn group(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&sh(&family("wait; echo parent; exit 4"))).await?;
    until(&mut *process, "ready").await?;
    process.control().signal(TERM, SignalTarget::Group).await?;
    let said = finish(process).await?;
    said.ended_with(ExitStatus::Code(4))?;
    let text = said.text();
    ensure!(text.contains("parent") && text.contains("child"), "the signal reached: {text:?}");
    stop(sandbox).await.map(drop)
}

async fn kill(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let deaf = "trap '' TERM INT HUP QUIT; echo ready; while :; do sleep 1000; done";
    let mut process = sandbox.exec(&sh(deaf)).await?;
    until(&mut *process, "ready").await?;
    let control = process.control();
    control.signal(TERM, SignalTarget::Process).await?;
    control.signal(KILL, SignalTarget::Process).await?;
    finish(process).await?.ended_with(ExitStatus::Signal(KILL))?;
    stop(sandbox).await.map(drop)
}

async fn dropping(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&sh("sleep 1000 & echo ready; wait")).await?;
    until(&mut *process, "ready").await?;
    let pid = process.pid().to_string();
    drop(process);
    until_gone(&*sandbox, &[pid]).await?;
    stop(sandbox).await.map(drop)
}

async fn after_the_end(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let process = sandbox.exec(&sh("exit 0")).await?;
    let control = process.control();
    finish(process).await?;
    control.signal(TERM, SignalTarget::Process).await?;
    control.signal(KILL, SignalTarget::Group).await?;
    control.write_stdin("late".into()).await?;
    control.close_stdin().await?;
    stop(sandbox).await.map(drop)
}
