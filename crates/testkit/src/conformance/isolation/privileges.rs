//! Rules of isolation: who commands are, and what they cannot become.

use agentkernel_core::{Command, CommandUser, ErrorKind, Profile, Sandbox, SandboxSpec, User};

use super::super::context::{Context, stop};
use super::super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same};
use super::super::talk::{refused, sh, text_of};

pub const RULES: &[Rule] = &[
    rule!("isolation.user_is_nobodys", Needs::Boundary, user, "Commands run as 65532, without other groups."),
    rule!(
        "isolation.root_is_refused",
        Needs::Boundary,
        root,
        "No command becomes root in a profile that refuses root."
    ),
    rule!(
        "isolation.no_capabilities",
        Needs::Boundary,
        capabilities,
        "All five capability sets of a command are empty."
    ),
    rule!(
        "isolation.no_new_privileges",
        Needs::Boundary,
        privileges,
        "A command cannot gain privileges, and its system calls are filtered."
    ),
];

async fn user(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let User { uid, gid } = User::SANDBOX;
    same("user and groups", text_of(&*sandbox, "echo $(id -u) $(id -G)").await?, format!("{uid} {gid}"))?;
    stop(sandbox).await.map(drop)
}

async fn root(context: &Context<'_>) -> Kept {
    // Whatever the profile of the other rules is: some allow root.
    let spec = SandboxSpec::builder(context.fresh_name(), Profile::Restrictive)
        .image(context.options.image.clone())
        .emulate(context.options.emulate)
        .limits(context.options.limits);
    let sandbox = context.boot_spec(spec).await?.sandbox;
    for user in [CommandUser { uid: 0, gid: 65532 }, CommandUser { uid: 65532, gid: 0 }] {
        let command = Command { user: Some(user), ..sh("id") };
        refused(&format!("{user:?}"), sandbox.exec(&command).await, ErrorKind::CommandRefused)?;
    }
    stop(sandbox).await.map(drop)
}

/// The lines of `/proc/self/status` of a command, as name and value.
async fn status(sandbox: &dyn Sandbox, names: &[&str]) -> Result<Vec<String>, Broken> {
    let text = text_of(sandbox, "cat /proc/self/status").await?;
    let line = |name: &&str| {
        let found = text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(':'));
        format!("{name} {}", found.unwrap_or("missing").trim())
    };
    Ok(names.iter().map(line).collect())
}

async fn capabilities(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    for set in status(&*sandbox, &sets).await? {
        let untold = context.has_own_kernel() && set == "CapAmb missing";
        ensure!(set.ends_with(" 0000000000000000") || untold, "{set}");
    }
    stop(sandbox).await.map(drop)
}

async fn privileges(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let found = status(&*sandbox, &["NoNewPrivs", "Seccomp"]).await?;
    // Another kernel than Linux need not tell the first; what it leads to is another rule's.
    let found: Vec<_> =
        found.into_iter().filter(|line| !context.has_own_kernel() || line != "NoNewPrivs missing").collect();
    let expected = ["NoNewPrivs 1", "Seccomp 2"].map(str::to_owned);
    let told = expected.len() - found.len();
    same("status", &found[..], &expected[told.min(1)..])?;
    stop(sandbox).await.map(drop)
}
