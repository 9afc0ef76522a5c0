//! Attends to a running command: its input, its output, its deadline, and what is said from outside.

use std::io;
use std::time::Duration;

use agentkernel_core::{
    CauseOfDeath, Command, Ended, Error, ErrorKind, Exited, Process, ProcessControl, ProcessEvent, Result,
    Sandbox, SignalTarget, TerminalSize,
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{DEADLINE_GRACE, Ending, OutputCount, RunIo, RunOutput, RunSignal, SIGNAL_GRACE};

/// How long a sandbox may take to say how it ended, once its stream is broken.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs the command to its end, or to the moment when its sandbox must be taken down.
pub(super) async fn command(
    sandbox: &dyn Sandbox,
    command: &Command,
    io: RunIo<'_>,
    count: &mut OutputCount,
) -> Result<Ending> {
    let RunIo { stdin, output, mut signals } = io;
    let mut resized = None;
    let mut process = tokio::select! {
        process = sandbox.exec(command) => process?,
        number = end_asked(&mut signals, &mut resized) => return Ok(Ending::Signalled(number)),
        () = expire(command.timeout) => return Ok(Ending::TimedOut),
    };
    let io = RunIo { stdin, output, signals };
    match attend(process.as_mut(), command.timeout, resized, io, count).await {
        Attended::Ended(ending) => Ok(ending),
        Attended::Lost(why) => last_words(sandbox, why).await,
    }
}

/// What came of a command.
pub enum Attended {
    /// It ended, or must not be heard any more.
    Ended(Ending),
    /// Its end was not seen, for this reason.
    Lost(Error),
}

/// Attends to a command that runs, wherever it does, to its end or to the moment when its sandbox must be taken down.
pub async fn attend(
    process: &mut dyn Process,
    timeout: Option<Duration>,
    resized: Option<TerminalSize>,
    io: RunIo<'_>,
    count: &mut OutputCount,
) -> Attended {
    let RunIo { stdin, output, mut signals } = io;
    let control = process.control();
    if let Some(size) = resized {
        drop(control.resize(size).await);
    }
    let mut feed = std::pin::pin!(feed(control.as_ref(), stdin));
    let mut must_end = std::pin::pin!(end_insisted(control.as_ref(), &mut signals));
    let heard = tokio::select! {
        heard = hear(process, output, count) => heard,
        number = &mut must_end => return Attended::Ended(Ending::Signalled(number)),
        () = expire(timeout) => return Attended::Ended(Ending::TimedOut),
        never = &mut feed => match never {},
    };
    let exited = match heard {
        Ok(exited) => exited,
        Err(Deaf::Output(why)) => return Attended::Ended(Ending::OutputFailed(why)),
        Err(Deaf::Sandbox(why)) => return Attended::Lost(why),
    };
    Attended::Ended(tokio::select! {
        written = output.finish() => written.map_or_else(Ending::OutputFailed, |()| Ending::Exited(exited)),
        number = &mut must_end => Ending::Signalled(number),
        // Whoever takes the output may be as slow as he likes, but for a command whose time was up.
        () = expire(exited.timed_out.then_some(Duration::ZERO)) => Ending::TimedOut,
    })
}

/// Why a command is not heard any more before its end.
enum Deaf {
    Output(io::Error),
    Sandbox(Error),
}

/// Passes output on, up to its limit, until the command has ended.
async fn hear(
    process: &mut dyn Process,
    output: &mut dyn RunOutput,
    count: &mut OutputCount,
) -> Result<Exited, Deaf> {
    loop {
        let event = tokio::select! {
            event = process.next() => event.map_err(Deaf::Sandbox)?,
            // A command that says nothing more must not live on because of that.
            why = output.failed() => return Err(Deaf::Output(why)),
        };
        match event {
            ProcessEvent::Output(stream, mut bytes) => {
                bytes.truncate(count.admit(bytes.len()));
                if !bytes.is_empty() {
                    output.write(stream, bytes).await.map_err(Deaf::Output)?;
                }
            }
            ProcessEvent::Exited(exited) => return Ok(exited),
        }
    }
}

/// Hands stdin over, then waits for ever.
async fn feed(
    control: &dyn ProcessControl,
    stdin: Option<mpsc::Receiver<Bytes>>,
) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        while let Some(bytes) = stdin.recv().await {
            // A sandbox that is gone is noticed by whoever hears the output.
            if control.write_stdin(bytes).await.is_err() {
                break;
            }
        }
        drop(control.close_stdin().await);
    }
    std::future::pending().await
}

/// Waits until the command's time is up for the host, too; for ever, if it has all the time.
async fn expire(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time + DEADLINE_GRACE).await,
        None => std::future::pending().await,
    }
}

/// Waits until the sandbox must be killed, and says by which signal that was asked: the second one, or
/// the first after its grace. Meanwhile passes on what the command is to know.
async fn end_insisted(control: &dyn ProcessControl, signals: &mut mpsc::Receiver<RunSignal>) -> u8 {
    let first = next_end(control, signals).await;
    let pass_on = async {
        drop(control.signal(first, SignalTarget::Group).await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = pass_on => first,
        second = next_end(control, signals) => second,
        () = sleep(SIGNAL_GRACE) => first,
    }
}

async fn next_end(control: &dyn ProcessControl, signals: &mut mpsc::Receiver<RunSignal>) -> u8 {
    loop {
        match signals.recv().await {
            Some(RunSignal::End(number)) => return number,
            Some(RunSignal::Resize(size)) => drop(control.resize(size).await),
            None => std::future::pending().await,
        }
    }
}

/// Waits for the first signal to end, while there is no command yet; a new size is kept for it.
pub async fn end_asked(signals: &mut mpsc::Receiver<RunSignal>, resized: &mut Option<TerminalSize>) -> u8 {
    loop {
        match signals.recv().await {
            Some(RunSignal::End(number)) => return number,
            Some(RunSignal::Resize(size)) => *resized = Some(size),
            None => std::future::pending().await,
        }
    }
}

/// How the sandbox ended, after its stream broke.
async fn last_words(sandbox: &dyn Sandbox, why: Error) -> Result<Ending> {
    if why.kind == ErrorKind::ProtocolBroken {
        return Err(why); // a hostile guest, or a fault of ours: neither is an ordinary end
    }
    match timeout(LAST_WORDS, sandbox.ended()).await {
        Ok(ended) => Ok(Ending::SandboxEnded(ended)),
        Err(_) => {
            Ok(Ending::SandboxEnded(Ended { cause: CauseOfDeath::BoundaryCrashed, detail: why.to_string() }))
        }
    }
}
