//! Rules of stdin, stdout and stderr.

use std::time::Duration;

use agentkernel_core::{Command, ExitStatus, OutputStream, ProcessEvent};
use bytes::Bytes;

use super::context::{Context, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same, same_bytes};
use super::talk::{begin, feed, finish, run, sh, sh_with_stdin, until};
use crate::noise;

pub const RULES: &[Rule] = &[
    rule!(
        "streams.stdout_and_stderr_are_separate",
        Needs::Nothing,
        separate,
        "Stdout and stderr arrive apart, each in order."
    ),
    rule!(
        "streams.bytes_go_round_unchanged",
        Needs::Nothing,
        round_trip,
        "8 MiB of random bytes come back from `cat` as they went in."
    ),
    rule!(
        "streams.large_output_is_whole",
        Needs::Nothing,
        large_output,
        "64 MiB of output arrive byte for byte."
    ),
    rule!(
        "streams.no_output_is_empty",
        Needs::Nothing,
        no_empty_output,
        "Output that is told is never empty."
    ),
    rule!(
        "streams.nothing_follows_the_end",
        Needs::Nothing,
        nothing_follows,
        "After the end nothing follows; to ask again is an error."
    ),
    rule!(
        "streams.without_stdin_it_ends_at_once",
        Needs::Nothing,
        null_stdin,
        "A command without stdin reads its end at once."
    ),
    rule!(
        "streams.closed_stdin_ends",
        Needs::Nothing,
        closed_stdin,
        "A closed stdin ends after what was written."
    ),
    rule!(
        "streams.unread_output_delays_nobody_else",
        Needs::Nothing,
        slow_reader,
        "Output that is not taken stops its command and nobody else."
    ),
    rule!(
        "streams.a_held_stdout_does_not_delay_the_end",
        Needs::Nothing,
        held_stdout,
        "A grandchild that holds stdout open does not delay the end."
    ),
    rule!(
        "streams.an_unread_stdin_does_not_delay_the_end",
        Needs::Nothing,
        unread_stdin,
        "A command that never reads its stdin ends all the same, and so does the writing."
    ),
];

async fn separate(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let script = "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let said = run(&*sandbox, &sh(script)).await?;
    let expected = |word: &str| (0..200).map(|number| format!("{word} {number}\n")).collect::<String>();
    same_bytes("stdout", &said.stdout, expected("out").as_bytes())?;
    same_bytes("stderr", &said.stderr, expected("err").as_bytes())?;
    stop(sandbox).await.map(drop)
}

async fn round_trip(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let bytes = noise(8 << 20);
    let mut process = sandbox.exec(&sh_with_stdin("echo ready; exec cat")).await?;
    until(&mut *process, "ready\n").await?;
    let control = process.control();
    let write = async {
        for chunk in bytes.chunks(100_000) {
            control.write_stdin(Bytes::copy_from_slice(chunk)).await?;
        }
        Ok::<_, Broken>(control.close_stdin().await?)
    };
    let (written, said) = tokio::join!(write, finish(process));
    written?;
    let said = said?;
    same_bytes("what came back", &said.stdout, &bytes)?;
    said.ended_with(ExitStatus::Code(0))?;
    stop(sandbox).await.map(drop)
}

async fn large_output(context: &Context<'_>) -> Kept {
    const COPIES: usize = 68;
    let sandbox = context.boot().await?;
    // Of a length that lines up with no buffer, so that a block out of place is seen.
    let block = noise(1_000_003);
    let script = format!("cat >block; i=0; while [ $i -lt {COPIES} ]; do cat block; i=$((i+1)); done");
    let mut process = sandbox.exec(&sh_with_stdin(&script)).await?;
    feed(&*process.control(), &block).await?;
    let mut seen = 0;
    loop {
        match process.next().await? {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => {
                seen += expect_part(&block, seen, &bytes)?;
            }
            ProcessEvent::Output(OutputStream::Stderr, bytes) => {
                return Err(Broken(format!("stderr: {}", bytes.escape_ascii())));
            }
            ProcessEvent::Exited(exited) => {
                same("status", exited.status, ExitStatus::Code(0))?;
                break;
            }
        }
    }
    same("bytes of output", seen, COPIES * block.len())?;
    stop(sandbox).await.map(drop)
}

/// That these bytes are what follows after `seen` bytes of endless copies of a block.
fn expect_part(block: &[u8], seen: usize, bytes: &[u8]) -> Result<usize, Broken> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = seen + bytes.len() - rest.len();
        let begin = at % block.len();
        let length = rest.len().min(block.len() - begin);
        same_bytes(&format!("output from byte {at} on"), &rest[..length], &block[begin..begin + length])?;
        rest = &rest[length..];
    }
    Ok(bytes.len())
}

async fn no_empty_output(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let script = "printf a; printf ''; printf b >&2; exec 2>&-; i=0; while [ $i -lt 99 ]; do echo $i; i=$((i+1)); done";
    let mut process = sandbox.exec(&sh(script)).await?;
    while let ProcessEvent::Output(stream, bytes) = process.next().await? {
        ensure!(!bytes.is_empty(), "an empty output of {stream:?}");
    }
    stop(sandbox).await.map(drop)
}

async fn nothing_follows(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&sh("sleep 1000 & echo x; exit 0")).await?;
    while !matches!(process.next().await?, ProcessEvent::Exited(_)) {}
    for _ in 0..2 {
        let next = process.next().await;
        ensure!(next.is_err(), "after the end came {next:?}");
    }
    stop(sandbox).await.map(drop)
}

async fn null_stdin(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let said = run(&*sandbox, &sh("cat; echo end")).await?;
    same("output", said.text(), "end".to_owned())?;
    stop(sandbox).await.map(drop)
}

async fn closed_stdin(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for input in ["", "x", "two\nlines"] {
        let process = sandbox.exec(&sh_with_stdin("cat; echo end")).await?;
        feed(&*process.control(), input.as_bytes()).await?;
        same("output", finish(process).await?.text(), format!("{input}end"))?;
    }
    stop(sandbox).await.map(drop)
}

async fn slow_reader(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut flood = sandbox.exec(&Command::new(["yes", "flood"])).await?;
    let mut errors = sandbox.exec(&sh("exec yes flood >&2")).await?;
    // Both run, and from here on nobody listens to them.
    flood.next().await?;
    errors.next().await?;
    for number in 0..20_u8 {
        let said = run(&*sandbox, &sh(&format!("echo here; exit {number}"))).await?;
        same("the other's output", said.text(), "here".to_owned())?;
        said.ended_with(ExitStatus::Code(number))?;
    }
    let round_trip = sandbox.ping().await?;
    ensure!(round_trip < Duration::from_secs(5), "a ping took {round_trip:?}");
    drop((flood, errors));
    stop(sandbox).await.map(drop)
}

async fn held_stdout(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    // The grandchild holds stdout, stderr and stdin, and is in nobody's way.
    let mut process = sandbox.exec(&sh_with_stdin("sleep 1000 <&0 & echo said; echo it >&2; exit 3")).await?;
    let control = process.control();
    until_exit(&mut *process).await?;
    control.close_stdin().await?;
    stop(sandbox).await.map(drop)
}

async fn until_exit(process: &mut dyn agentkernel_core::Process) -> Kept {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match process.next().await? {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => stderr.extend_from_slice(&bytes),
            ProcessEvent::Exited(exited) => {
                same_bytes("stdout", &stdout, b"said\n")?;
                same_bytes("stderr", &stderr, b"it\n")?;
                return same("status", exited.status, ExitStatus::Code(3));
            }
        }
    }
}

async fn unread_stdin(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&sh_with_stdin("echo ready; sleep 0.2; exit 6")).await?;
    until(&mut *process, "ready").await?;
    let control = process.control();
    // More than any window: the writing waits, for nobody reads.
    let mut write = Box::pin(async {
        for _ in 0..64 {
            control.write_stdin(Bytes::from(noise(64 << 10))).await?;
        }
        Ok::<_, Broken>(())
    });
    let written_at_once = begin(&mut write).await;
    finish(process).await?.ended_with(ExitStatus::Code(6))?;
    match written_at_once {
        Some(written) => written?,
        None => write.await?,
    }
    stop(sandbox).await.map(drop)
}
