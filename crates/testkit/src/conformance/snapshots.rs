//! Rules of sandboxes that are kept as they are, and of those that go on from there.

use agentkernel_core::{ErrorKind, Restored, Sandbox, SnapshotName};

use super::context::{Context, stop};
use super::rule::{Broken, Kept, Needs, Rule, rule, same};
use super::talk::{refused, run, sh, text_of};

pub const RULES: &[Rule] = &[
    rule!(
        "snapshots.one_goes_on_and_others_go_on_from_there",
        Needs::Snapshots,
        goes_on,
        "A sandbox goes on after its snapshot, and whatever goes on from that has its past and a life of its own."
    ),
    rule!(
        "snapshots.a_name_is_taken_until_it_is_removed",
        Needs::Snapshots,
        a_name,
        "A snapshot's name is taken once, is listed with what was written down, and is free when it is removed."
    ),
];

async fn write(sandbox: &dyn Sandbox, word: &str) -> Kept {
    run(sandbox, &sh(&format!("echo {word} > file"))).await?;
    Ok(())
}

async fn read(sandbox: &dyn Sandbox) -> Result<String, Broken> {
    text_of(sandbox, "cat file").await
}

async fn restored(context: &Context<'_>, from: &SnapshotName) -> Result<Box<dyn Sandbox>, Broken> {
    let name = context.fresh_name();
    let spec = context.spec(&name).build()?;
    let Restored { sandbox, .. } = context.backend.restore(&spec, from).await?;
    same("its name", sandbox.name(), &name)?;
    Ok(sandbox)
}

async fn goes_on(context: &Context<'_>) -> Kept {
    let (sandbox, snapshot) = (context.boot().await?, context.fresh_name());
    write(&*sandbox, "past").await?;
    sandbox.snapshot(&snapshot, "").await?;
    write(&*sandbox, "present").await?;
    let (one, other) = (restored(context, &snapshot).await?, restored(context, &snapshot).await?);
    same("its past", read(&*one).await?.as_str(), "past")?;
    write(&*one, "another").await?;
    same("the past of the other", read(&*other).await?.as_str(), "past")?;
    same("what it was taken of", read(&*sandbox).await?.as_str(), "present")?;
    for sandbox in [one, other, sandbox] {
        stop(sandbox).await?;
    }
    Ok(context.backend.remove_snapshot(&snapshot).await?)
}

async fn a_name(context: &Context<'_>) -> Kept {
    let (sandbox, snapshot) = (context.boot().await?, context.fresh_name());
    sandbox.snapshot(&snapshot, "mine").await?;
    refused("a name that is taken", sandbox.snapshot(&snapshot, "again").await, ErrorKind::NameTaken)?;
    let listed = context.backend.snapshots().await?;
    let found = listed.iter().find(|info| info.name == snapshot).map(|info| info.about.as_str());
    same("what is listed", found, Some("mine"))?;
    context.backend.remove_snapshot(&snapshot).await?;
    let missing = ErrorKind::NoSuchSnapshot;
    refused("to remove it again", context.backend.remove_snapshot(&snapshot).await, missing)?;
    let spec = context.spec(&context.fresh_name()).build()?;
    refused("to go on from nothing", context.backend.restore(&spec, &snapshot).await, missing)?;
    sandbox.snapshot(&snapshot, "anew").await?;
    context.backend.remove_snapshot(&snapshot).await?;
    stop(sandbox).await.map(drop)
}
