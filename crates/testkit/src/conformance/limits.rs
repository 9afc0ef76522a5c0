//! Rules of limits: what a sandbox uses up is its own. Sizes are in bytes, which every `head` understands.

use std::time::{Duration, Instant};

use agentkernel_core::{
    ByteSize, CauseOfDeath, Command, CpuCount, ErrorKind, ExitStatus, Limit, Limits, Sandbox,
};

use super::context::{Context, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same};
use super::talk::{run, sh, text_of};
use crate::require::patiently;
use crate::said::listen;

pub const RULES: &[Rule] = &[
    rule!(
        "limits.memory",
        Needs::Memory,
        memory,
        "What wants more memory than its sandbox has is killed, and the sandbox says so."
    ),
    rule!("limits.memory_holds_tmpfs", Needs::Memory, memory_of_files, "Files in memory count as memory."),
    rule!("limits.pids", Needs::Pids, pids, "A sandbox has no more processes than its limit."),
    rule!(
        "limits.a_fork_bomb_is_bounded",
        Needs::Pids,
        fork_bomb,
        "While a fork bomb goes off, the sandbox answers, and it can be stopped."
    ),
    rule!("limits.disk", Needs::Boundary, disk, "Each writable place ends with ENOSPC at its limit."),
    rule!(
        "limits.file_size",
        Needs::Boundary,
        file_size,
        "No file is larger than its place, sparse ones included."
    ),
    rule!(
        "limits.open_files",
        Needs::Boundary,
        open_files,
        "A process has no more open files than its limit, and cannot raise it."
    ),
    rule!("limits.cpus", Needs::Cpus, cpus, "Busy loops get no more processor than their sandbox has."),
];

/// No flood takes longer; one that does was not stopped by its limit.
const PATIENCE: Duration = Duration::from_secs(20);

/// Holds 200 MiB at once: `tail` keeps a line whole, and this one does not end.
pub const HOG: &str = "head -c 209715200 /dev/zero | tail -c 209715200 >/dev/null";

async fn memory(context: &Context<'_>) -> Kept {
    let sandbox = context.boot_limited(with_memory(context, 64)).await?;
    let succeeded = succeeds(&*sandbox, HOG).await?;
    ensure!(!succeeded, "200 MiB were held in 64 MiB of memory");
    let stopped = stop(sandbox).await?;
    let is_told = stopped.out_of_memory_kills > 0 || stopped.cause == Some(CauseOfDeath::OutOfMemory);
    ensure!(is_told, "the sandbox does not tell that memory ran out: {stopped:?}");
    Ok(())
}

async fn memory_of_files(context: &Context<'_>) -> Kept {
    let sandbox = context.boot_limited(with_memory(context, 64)).await?;
    let script =
        "head -c 209715200 /dev/zero >/dev/shm/ak-flood; code=$?; rm -f /dev/shm/ak-flood; exit $code";
    ensure!(!succeeds(&*sandbox, script).await?, "a file of 200 MiB lay in 64 MiB of memory");
    stop(sandbox).await.map(drop)
}

pub fn with_memory(context: &Context<'_>, mib: u64) -> Limits {
    Limits { memory: Limit::At(ByteSize::mib(mib)), ..context.options.limits }
}

/// Whether a script succeeds. If its whole sandbox goes, it does not.
pub async fn succeeds(sandbox: &dyn Sandbox, script: &str) -> Result<bool, Broken> {
    let patience = patiently(PATIENCE);
    let command = Command { timeout: Some(patience), ..sh(script) };
    let listened = match sandbox.exec(&command).await {
        Ok(process) => listen(process).await,
        Err(error) => Err(error),
    };
    match listened {
        Ok(said) => {
            ensure!(!said.exited.timed_out, "after {patience:?} it was still going on");
            Ok(said.exited.status.is_success())
        }
        Err(error) if error.kind == ErrorKind::SandboxGone => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn pids(context: &Context<'_>) -> Kept {
    const LIMIT: usize = 32;
    let sandbox = context.boot_limited(with_pids(context, 32)).await?;
    // One line for each child that runs; far more are tried than are allowed.
    let script = "i=0; while [ $i -lt 128 ]; do sleep 1000 & echo $i; i=$((i+1)); done";
    let command = Command { timeout: Some(Duration::from_secs(10)), ..sh(script) };
    let started = run(&*sandbox, &command).await?.text().lines().count();
    ensure!((1..LIMIT).contains(&started), "{started} children ran where {LIMIT} processes are allowed");
    sandbox.ping().await?;
    stop(sandbox).await.map(drop)
}

async fn fork_bomb(context: &Context<'_>) -> Kept {
    let name = context.fresh_name();
    let before = context.snapshot(&[&name]);
    let spec = context.spec(&name).limits(with_pids(context, 64));
    let sandbox = context.boot_spec(spec).await?.sandbox;
    let mut bomb = sandbox.exec(&sh("echo ready; bomb() { bomb | bomb & bomb; }; bomb")).await?;
    super::talk::until(&mut *bomb, "ready").await?;
    for _ in 0..10 {
        let round_trip = sandbox.ping().await?;
        ensure!(round_trip < Duration::from_secs(5), "a ping took {round_trip:?}");
    }
    stop(sandbox).await?;
    drop(bomb);
    context.nothing_left(&before).await
}

fn with_pids(context: &Context<'_>, pids: u32) -> Limits {
    Limits { pids: Limit::At(pids), ..context.options.limits }
}

async fn disk(context: &Context<'_>) -> Kept {
    let sandbox = context.boot_limited(with_disk(context)).await?;
    for place in [".", "/tmp", "/dev/shm"] {
        // No file of 6 MiB is too large, but two do not fit into 8.
        let script = format!(
            "export LC_ALL=C; head -c 6291456 /dev/zero >{place}/ak-one && head -c 6291456 /dev/zero >{place}/ak-two; \
             code=$?; rm -f {place}/ak-one {place}/ak-two; exit $code"
        );
        let said = run(&*sandbox, &sh(&script)).await?;
        ensure!(!said.exited.status.is_success(), "{place} took 12 MiB where 8 are allowed");
        let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(stderr.contains("No space left on device"), "{place}: stderr is {stderr:?}");
    }
    stop(sandbox).await.map(drop)
}

async fn file_size(context: &Context<'_>) -> Kept {
    let sandbox = context.boot_limited(with_disk(context)).await?;
    for flood in ["head -c 16777216 /dev/zero >file", "truncate -s 1099511627776 file"] {
        let said = run(&*sandbox, &sh(&format!("({flood}) 2>&1; echo $?; wc -c <file; rm -f file"))).await?;
        let lines: Vec<String> = said.text().lines().rev().map(str::to_owned).collect();
        let [size, code, ..] = &lines[..] else {
            return Err(Broken(format!("{flood}: {:?}", said.text())));
        };
        ensure!(code != "0", "{flood}: done, where 8 MiB are allowed");
        ensure!(size.trim().parse::<u64>().is_ok_and(|size| size <= 8 << 20), "{flood}: left {size} bytes");
    }
    stop(sandbox).await.map(drop)
}

fn with_disk(context: &Context<'_>) -> Limits {
    Limits { disk: ByteSize::mib(8), ..context.options.limits }
}

async fn open_files(context: &Context<'_>) -> Kept {
    let sandbox = context.boot_limited(Limits { open_files: 333, ..context.options.limits }).await?;
    same(
        "soft and hard limit",
        text_of(&*sandbox, "echo $(ulimit -Sn) $(ulimit -Hn)").await?,
        "333 1332".into(),
    )?;
    let raised = run(&*sandbox, &sh("ulimit -Hn 1333")).await?;
    ensure!(!raised.exited.status.is_success(), "the hard limit was raised from inside");
    stop(sandbox).await.map(drop)
}

/// Half a processor.
pub fn half() -> Limit<CpuCount> {
    CpuCount::milli(500).map_or(Limit::Unlimited, Limit::At)
}

async fn cpus(context: &Context<'_>) -> Kept {
    let sandbox = context.boot_limited(Limits { cpus: half(), ..context.options.limits }).await?;
    only_half_a_processor(&*sandbox).await?;
    stop(sandbox).await.map(drop)
}

/// That two busy loops get half a processor between them. A kernel may let a burst pass before it holds back (seen
/// under gVisor on a busy Linux 6.18): only one that lasts breaks the rule.
pub async fn only_half_a_processor(sandbox: &dyn Sandbox) -> Kept {
    let (used, wall) = two_busy_loops(sandbox).await?;
    if is_half(used, wall) {
        return Ok(());
    }
    let (again, wall) = two_busy_loops(sandbox).await?;
    ensure!(is_half(again, wall), "half a processor was {used:?}, and then {again:?} in {wall:?}");
    Ok(())
}

/// The quota is refilled ten times a second, and what is left at the end may be one more portion.
fn is_half(used: Duration, wall: Duration) -> bool {
    used <= wall * 3 / 4
}

/// How much processor two busy loops have used together, and in which time.
async fn two_busy_loops(sandbox: &dyn Sandbox) -> Result<(Duration, Duration), Broken> {
    let script = "(while :; do :; done) & one=$!; (while :; do :; done) & other=$!; \
                  sleep 1; kill $one $other; wait";
    let on_host = async || sandbox.usage().await.ok().and_then(|usage| usage.cpu);
    let (began, before) = (Instant::now(), on_host().await);
    let said = run(sandbox, &sh(script)).await?;
    said.ended_with(ExitStatus::Code(0))?;
    let usage = said.exited.usage;
    // What the host counts, where it does: another kernel than the host's may take waiting for running.
    let (used, wall) = match before.zip(on_host().await) {
        Some((before, after)) => (after.saturating_sub(before), began.elapsed()),
        None => (usage.user + usage.system, usage.wall),
    };
    ensure!(wall >= Duration::from_secs(1), "a second lasted {wall:?}");
    Ok((used, wall))
}
