//! Rules of telling sandboxes apart: what one tenant had, no other gets.

use agentkernel_core::ErrorKind;

use super::context::{Context, WORKSPACE, stop};
use super::rule::{Kept, Needs, Rule, rule, same};
use super::talk::{refused, text_of};

pub const RULES: &[Rule] = &[
    rule!(
        "names.are_told_truly",
        Needs::Nothing,
        told,
        "A sandbox has the name that was asked for, and the kind of its backend."
    ),
    rule!(
        "names.are_taken_once",
        Needs::Nothing,
        taken,
        "A second sandbox of a live one's name is refused as NameTaken."
    ),
    rule!(
        "names.used_again_start_clean",
        Needs::Nothing,
        again,
        "A sandbox of an earlier one's name has nothing of the earlier one."
    ),
    rule!(
        "names.siblings_share_no_file",
        Needs::Nothing,
        siblings,
        "Two live sandboxes have nothing of each other."
    ),
];

async fn told(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let sandbox = context.boot_named(&name).await?;
    same("name", sandbox.name().clone(), name)?;
    same("backend", sandbox.backend(), context.backend.kind())?;
    stop(sandbox).await.map(drop)
}

async fn taken(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let first = context.boot_named(&name).await?;
    text_of(&*first, "echo mine >file").await?;
    let second = context.backend.boot(&context.spec(&name).build()?).await;
    refused("a second sandbox of that name", second, ErrorKind::NameTaken)?;
    same("the first one's file", text_of(&*first, "cat file").await?, "mine".to_owned())?;
    stop(first).await?;
    stop(context.boot_named(&name).await?).await.map(drop)
}

async fn again(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let first = context.boot_named(&name).await?;
    text_of(&*first, "echo secret >file; (sleep 1000 >/dev/null 2>&1 &)").await?;
    stop(first).await?;
    let second = context.boot_named(&name).await?;
    same("files of the second", text_of(&*second, "ls -A").await?, String::new())?;
    stop(second).await.map(drop)
}

async fn siblings(context: &Context<'_>) -> Kept {
    let (one, other) = (context.boot().await?, context.boot().await?);
    text_of(&*one, "echo one >file").await?;
    let listed = other.files().list(WORKSPACE.as_bytes()).await?;
    same("files of the other", listed.len(), 0)?;
    text_of(&*other, "echo other >file").await?;
    same("the first one's file", text_of(&*one, "cat file").await?, "one".to_owned())?;
    stop(one).await?;
    // The end of one is not the end of the other.
    same("the other's file", text_of(&*other, "cat file").await?, "other".to_owned())?;
    stop(other).await.map(drop)
}
