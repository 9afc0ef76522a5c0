//! Rules of sandboxes that stand still, and of those that outlive whoever holds them.

use std::time::Duration;

use agentkernel_core::{Adopted, Error, ErrorKind, ExitStatus, Process, Sandbox, SandboxName};
use tokio::time::timeout;

use super::context::{Context, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same};
use super::talk::{feed, finish, refused, run, sh, sh_with_stdin, text_of, until};

pub const RULES: &[Rule] = &[
    rule!(
        "life.pause_stops_time",
        Needs::Pause,
        pause,
        "While a sandbox is paused nothing happens in it, whatever it was doing, and afterwards it goes on."
    ),
    rule!(
        "life.what_persists_outlives_its_holder",
        Needs::Adopt,
        persists,
        "A sandbox that persists comes back with its files, its commands and their exact ends."
    ),
    rule!(
        "life.what_does_not_persist_ends_with_its_holder",
        Needs::Adopt,
        does_not_persist,
        "A sandbox that was not made to persist is gone with its holder, and nothing of it is left."
    ),
    rule!(
        "life.one_holder_at_a_time",
        Needs::Adopt,
        one_holder,
        "While somebody holds a sandbox nobody else gets it."
    ),
    rule!(
        "life.what_is_paused_comes_back_paused",
        Needs::PauseAndAdopt,
        comes_back_paused,
        "A sandbox that was paused when its holder was lost is paused when it comes back."
    ),
];

/// How long nothing must be heard for silence: longer than a busy host keeps a clock from ticking.
const SILENCE: Duration = Duration::from_millis(400);

/// It forks all the time: a process that is just being made is the hardest to stop.
const CLOCK: &str = "while :; do sleep 0.001; echo tick; done";

/// That nothing more is said, once that has arrived which was on its way.
async fn is_silent(process: &mut dyn Process) -> Kept {
    for _ in 0..2000 {
        match timeout(SILENCE, process.next()).await {
            Ok(event) => drop(event?),
            Err(_) => return Ok(()),
        }
    }
    Err(Broken("time goes on".into()))
}

async fn pause(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut clock = sandbox.exec(&sh(CLOCK)).await?;
    for _ in 0..5 {
        until(&mut *clock, "tick").await?;
        sandbox.pause().await?;
        is_silent(&mut *clock).await?;
        sandbox.resume().await?;
        until(&mut *clock, "tick").await?;
    }
    sandbox.pause().await?;
    drop(clock);
    stop(sandbox).await.map(drop)
}

/// Loses a sandbox and its commands, as a holder does that is killed.
fn lose(sandbox: Box<dyn Sandbox>, command: Box<dyn Process>) {
    drop(sandbox);
    drop(command);
}

async fn get_back(context: &Context<'_>, name: &SandboxName) -> Result<Adopted, Error> {
    context.backend.adopt(&context.spec(name).build()?).await
}

/// What comes back persists still: it must be stopped, whatever was found.
async fn stop_and(sandbox: Box<dyn Sandbox>, found: Kept) -> Kept {
    stop(sandbox).await?;
    found
}

async fn persists(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let before = context.snapshot(&[&name]);
    let sandbox = context.boot_named(&name).await?;
    text_of(&*sandbox, "echo kept >file").await?;
    let mut waits =
        sandbox.exec(&sh_with_stdin("echo ready; read -r line; echo \"got $line\"; exit 4")).await?;
    let pid = waits.pid();
    until(&mut *waits, "ready").await?;
    sandbox.persist().await?;
    lose(sandbox, waits);
    let Adopted { sandbox, commands } = get_back(context, &name).await?;
    let found = goes_on(&*sandbox, commands, pid).await;
    stop_and(sandbox, found).await?;
    context.nothing_left(&before).await
}

async fn goes_on(sandbox: &dyn Sandbox, commands: Vec<Box<dyn Process>>, pid: u32) -> Kept {
    same("file", text_of(sandbox, "cat file").await?.as_str(), "kept")?;
    let waits = commands.into_iter().find(|command| command.pid() == pid);
    let waits = waits.ok_or_else(|| Broken("its command did not come back".into()))?;
    feed(&*waits.control(), b"word\n").await?;
    let said = finish(waits).await?;
    said.ended_with(ExitStatus::Code(4))?;
    same("output", said.text().as_str(), "got word")
}

async fn does_not_persist(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let before = context.snapshot(&[&name]);
    let sandbox = context.boot_named(&name).await?;
    let running = sandbox.exec(&sh("sleep 1000")).await?;
    lose(sandbox, running);
    match get_back(context, &name).await {
        Err(error) => same("kind", error.kind, ErrorKind::NoSuchSandbox)?,
        Ok(Adopted { sandbox, .. }) => return stop_and(sandbox, Err(Broken("it came back".into()))).await,
    }
    context.nothing_left(&before).await
}

async fn one_holder(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let sandbox = context.boot_named(&name).await?;
    sandbox.persist().await?;
    let found = refused("getting it twice", get_back(context, &name).await, ErrorKind::NameTaken);
    run(&*sandbox, &sh("exit 3")).await?.ended_with(ExitStatus::Code(3))?;
    stop_and(sandbox, found).await
}

async fn comes_back_paused(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let sandbox = context.boot_named(&name).await?;
    let mut clock = sandbox.exec(&sh(CLOCK)).await?;
    until(&mut *clock, "tick").await?;
    sandbox.persist().await?;
    sandbox.pause().await?;
    lose(sandbox, clock);
    let Adopted { sandbox, commands } = get_back(context, &name).await?;
    let found = stands_still(&*sandbox, commands).await;
    stop_and(sandbox, found).await
}

async fn stands_still(sandbox: &dyn Sandbox, mut commands: Vec<Box<dyn Process>>) -> Kept {
    ensure!(commands.len() == 1, "{} commands came back", commands.len());
    is_silent(&mut *commands[0]).await?;
    sandbox.resume().await?;
    until(&mut *commands[0], "tick").await.map(drop)
}
