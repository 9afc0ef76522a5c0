//! Rules of booting and stopping: what was started is stopped, and nothing is left.

use std::path::Path;
use std::time::{Duration, Instant};

use agentkernel_core::{Access, BindMount, Command, ExitStatus, ProcessEvent, Sandbox, SandboxName, WarmUp};

use super::context::{Context, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same};
use super::talk::{all, run, sh, text_of, until};

pub const RULES: &[Rule] = &[
    rule!(
        "lifecycle.probe_says_that_it_works",
        Needs::Nothing,
        probe,
        "A backend that boots is probed as available."
    ),
    rule!(
        "lifecycle.boot_returns_when_exec_works",
        Needs::Nothing,
        ready,
        "The first command runs as soon as boot has returned."
    ),
    rule!(
        "lifecycle.boot_tells_its_times",
        Needs::Nothing,
        times,
        "Boot and ready are times that passed while booting."
    ),
    rule!("lifecycle.ping_answers", Needs::Nothing, ping, "A live sandbox answers a ping."),
    rule!(
        "lifecycle.stop_leaves_nothing",
        Needs::Nothing,
        stop_leaves_nothing,
        "After stop nothing is left on the host."
    ),
    rule!(
        "lifecycle.drop_leaves_nothing",
        Needs::Nothing,
        drop_leaves_nothing,
        "Dropping a sandbox without stop kills everything in it."
    ),
    rule!(
        "lifecycle.a_failed_boot_leaves_nothing",
        Needs::Nothing,
        failed_boot,
        "A boot that fails leaves nothing on the host."
    ),
    rule!(
        "lifecycle.a_warm_up_has_run_once",
        Needs::WarmUp,
        warm_up,
        "What is to be run once has run before the first command, and is not run again; if it fails, there is no sandbox."
    ),
    rule!(
        "lifecycle.twenty_cycles_leave_nothing",
        Needs::Nothing,
        cycles,
        "Twenty sandboxes, one after the other, leave no file open."
    ),
    rule!(
        "lifecycle.stop_ends_running_commands",
        Needs::Nothing,
        stop_ends_commands,
        "Stop ends the commands that run: by signal 9, or with an error."
    ),
    rule!(
        "lifecycle.ten_live_at_once",
        Needs::Nothing,
        ten_at_once,
        "Many sandboxes may live at once, and none delays another."
    ),
];

async fn probe(context: &Context<'_>) -> Kept {
    let availability = context.backend.probe().await;
    ensure!(availability.is_available(), "it boots, and says {availability:?}");
    Ok(())
}

async fn ready(context: &Context<'_>) -> Kept {
    for number in 0..5_u8 {
        let sandbox = context.boot().await?;
        run(&*sandbox, &sh(&format!("exit {number}"))).await?.ended_with(ExitStatus::Code(number))?;
        stop(sandbox).await?;
    }
    Ok(())
}

async fn times(context: &Context<'_>) -> Kept {
    let begin = Instant::now();
    let booted = context.boot_spec(context.spec(&context.fresh_name())).await?;
    let elapsed = begin.elapsed();
    let (boot, ready) = (booted.boot, booted.ready);
    ensure!(boot > Duration::ZERO && ready > Duration::ZERO, "boot took {boot:?}, ready {ready:?}");
    ensure!(boot + ready <= elapsed, "boot took {boot:?} and ready {ready:?} of {elapsed:?}");
    stop(booted.sandbox).await.map(drop)
}

async fn ping(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for _ in 0..10 {
        let (begin, told) = (Instant::now(), sandbox.ping().await?);
        ensure!(told <= begin.elapsed(), "a round trip of {told:?} within {:?}", begin.elapsed());
    }
    stop(sandbox).await.map(drop)
}

/// Everything that a sandbox could leave: a daemon with a session of its own that ignores signals, an
/// orphan, files, and a command that has not ended.
async fn occupy(sandbox: &dyn Sandbox) -> Result<Box<dyn agentkernel_core::Process>, Broken> {
    let daemon =
        "setsid sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1000; done' >/dev/null 2>&1 </dev/null &";
    text_of(sandbox, &format!("({daemon}); (sleep 1000 >/dev/null 2>&1 &); mkfifo pipe; echo x >file"))
        .await?;
    let mut running = sandbox.exec(&sh("echo ready; sleep 1000 & sleep 1000")).await?;
    until(&mut *running, "ready").await?;
    Ok(running)
}

async fn stop_leaves_nothing(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let before = context.snapshot(&[&name]);
    let sandbox = context.boot_named(&name).await?;
    let running = occupy(&*sandbox).await?;
    stop(sandbox).await?;
    drop(running);
    context.nothing_left(&before).await
}

async fn drop_leaves_nothing(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let before = context.snapshot(&[&name]);
    let sandbox = context.boot_named(&name).await?;
    let running = occupy(&*sandbox).await?;
    drop(sandbox);
    drop(running);
    context.nothing_left(&before).await
}

async fn failed_boot(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let before = context.snapshot(&[&name]);
    let missing = Path::new("/no/such/folder/anywhere");
    let mount = BindMount::new(missing, Path::new("/workspace/mount"), Access::ReadOnly).map_err(Broken)?;
    let booted = context.boot_spec(context.spec(&name).mount(mount)).await;
    ensure!(booted.is_err(), "it booted with a mount whose source does not exist");
    context.nothing_left(&before).await?;
    // The name is free again.
    stop(context.boot_named(&name).await?).await.map(drop)
}

async fn warm_up(context: &Context<'_>) -> Kept {
    let words = |script: &str| Some(WarmUp { argv: sh(script).argv, owner: "suite".into() });
    let name = context.fresh_name();
    // As it runs, it has a stream of output that nobody reads.
    let leaves = "yes | head -c 300000; echo ran >>warmed; (sleep 1000 >/dev/null 2>&1 &)";
    let spec = context.spec(&name).warm_up(words(leaves));
    let sandbox = context.boot_spec(spec).await?.sandbox;
    for _ in 0..2 {
        same("what it has left", text_of(&*sandbox, "cat warmed 2>/dev/null; true").await?.trim(), "ran")?;
    }
    stop(sandbox).await?;
    let before = context.snapshot(&[&name]);
    let fails = context.boot_spec(context.spec(&name).warm_up(words("echo bad news >&2; exit 3"))).await;
    let Err(error) = fails else { return Err(Broken("it booted though its warm-up failed".into())) };
    let told = error.0;
    ensure!(told.contains("exit code 3: bad news"), "its failure is told as {told:?}");
    context.nothing_left(&before).await
}

async fn cycles(context: &Context<'_>) -> Kept {
    let names: Vec<_> = (0..20).map(|_| context.fresh_name()).collect();
    // The first sandbox may open what stays open for all that follow.
    cycle(context, &context.fresh_name()).await?;
    let before = context.snapshot(&names.iter().collect::<Vec<_>>());
    for name in &names {
        cycle(context, name).await?;
    }
    context.nothing_left(&before).await
}

async fn cycle(context: &Context<'_>, name: &SandboxName) -> Kept {
    let sandbox = context.boot_named(name).await?;
    run(&*sandbox, &Command::new(["true"])).await?.ended_with(ExitStatus::Code(0))?;
    stop(sandbox).await.map(drop)
}

async fn stop_ends_commands(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut running = sandbox.exec(&sh("trap '' TERM; echo ready; while :; do sleep 1000; done")).await?;
    until(&mut *running, "ready").await?;
    let control = running.control();
    stop(sandbox).await?;
    loop {
        match running.next().await {
            Ok(ProcessEvent::Output(..)) => {}
            Ok(ProcessEvent::Exited(exited)) => {
                same("status", exited.status, ExitStatus::Signal(9))?;
                break;
            }
            Err(_) => break,
        }
    }
    // Nobody is there to be told, which is no reason to wait.
    drop(control.write_stdin("late".into()).await);
    drop(control.close_stdin().await);
    Ok(())
}

async fn ten_at_once(context: &Context<'_>) -> Kept {
    let names: Vec<_> = (0..10).map(|_| context.fresh_name()).collect();
    let before = context.snapshot(&names.iter().collect::<Vec<_>>());
    let mut sandboxes = Vec::new();
    for booted in all(names.iter().map(|name| Box::pin(context.boot_named(name)))).await {
        sandboxes.push(booted?);
    }
    // From here on all of them live.
    let texts = sandboxes.iter().zip(&names).map(|(sandbox, name)| {
        Box::pin(async move { text_of(&**sandbox, &format!("echo {name} >name; cat name")).await })
    });
    for (text, name) in all(texts).await.into_iter().zip(&names) {
        same("output", text?, name.to_string())?;
    }
    for stopped in all(sandboxes.into_iter().map(|sandbox| Box::pin(stop(sandbox)))).await {
        stopped?;
    }
    context.nothing_left(&before).await
}
