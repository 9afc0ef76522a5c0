//! The sandbox in which an attack runs, and how the host listens to it.

use std::time::Duration;

use agentkernel_core::{
    ByteSource, CauseOfDeath, Command, ErrorKind, ExitStatus, Exited, OutputStream, Process, ProcessEvent,
    Result, Sandbox, SignalTarget, Stdin,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::attacks::{Attack, Listener, flood_mib};
use crate::oracle::{DEADLINE, ROUNDS_MIN, answer};
use crate::probe;

/// What came of an attack.
#[derive(Debug)]
pub struct Told {
    /// The probe's last line, if it could say one.
    pub last: Option<Value>,
    /// How the probe ended, unless its whole sandbox has.
    pub exited: Option<Exited>,
    /// Bytes that its input took.
    pub swallowed: u64,
}

impl Told {
    pub fn number(&self, field: &str) -> Option<u64> {
        self.last.as_ref().filter(|last| last["event"] == "end")?[field].as_u64()
    }
}

/// Runs the probe's attack with these words.
pub async fn suffer(
    sandbox: &dyn Sandbox,
    attack: &Attack,
    words: &str,
    mut rounds: watch::Receiver<usize>,
) -> Told {
    let flood = flood_mib().to_string();
    let words = words.split_whitespace().map(|word| if word == "FLOOD" { &*flood } else { word });
    let argv = [probe::PLACE, "exhaust", attack.name].into_iter().chain(words);
    let stdin = if matches!(attack.listener, Listener::FillsItsInput) { Stdin::Pipe } else { Stdin::Null };
    let command = Command { stdin, ..Command::new(argv) };
    let mut process = sandbox.exec(&command).await.expect("the attack starts");
    let mut swallowed = 0;
    match attack.listener {
        Listener::Reads | Listener::CopiesOut(_) => {}
        Listener::ReadsLate => enough(&mut rounds).await,
        Listener::Insists => insist(&mut *process, &mut rounds).await,
        Listener::FillsItsInput => swallowed = fill(&*process, &mut rounds).await,
    }
    let (last, exited) = hear(&mut *process).await;
    if let Listener::CopiesOut(folder) = attack.listener {
        copy_out(sandbox, folder).await;
    }
    Told { last, exited, swallowed }
}

/// Waits until the sibling has answered for a while.
async fn enough(rounds: &mut watch::Receiver<usize>) {
    // The oracle is gone only when the test has failed.
    rounds.wait_for(|count| *count >= ROUNDS_MIN).await.ok();
}

/// SIGTERM at once, SIGKILL later.
async fn insist(process: &mut dyn Process, rounds: &mut watch::Receiver<usize>) {
    let first = process.next().await.expect("it is alive");
    assert!(matches!(first, ProcessEvent::Output(..)), "it says that it is ready: {first:?}");
    let control = process.control();
    control.signal(15, SignalTarget::Group).await.expect("sent");
    let still_there = timeout(Duration::from_millis(500), process.next()).await;
    assert!(still_there.is_err(), "SIGTERM was ignored on purpose: {still_there:?}");
    enough(rounds).await;
    control.signal(9, SignalTarget::Group).await.expect("sent");
}

/// What is offered to an input that nobody reads.
const OFFERED: usize = 64 << 20;

/// Writes until nothing more is taken, which it is to be before all is.
async fn fill(process: &dyn Process, rounds: &mut watch::Receiver<usize>) -> u64 {
    let control = process.control();
    let chunk = Bytes::from(vec![0; 64 << 10]);
    let mut swallowed = 0;
    let pour = async {
        for _ in 0..OFFERED / chunk.len() {
            control.write_stdin(chunk.clone()).await.expect("it lives");
            swallowed += chunk.len() as u64;
        }
    };
    tokio::select! {
        () = pour => {}
        () = enough(rounds) => {}
    }
    control.signal(9, SignalTarget::Group).await.expect("sent");
    swallowed
}

/// How much of the output's end is kept: the last line, which is short.
const TAIL: usize = 4096;

/// Listens to the end and remembers the last line.
async fn hear(process: &mut dyn Process) -> (Option<Value>, Option<Exited>) {
    let mut tail = Vec::new();
    let exited = loop {
        match process.next().await {
            Ok(ProcessEvent::Output(OutputStream::Stdout, bytes)) => {
                tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
                tail.drain(..tail.len().saturating_sub(TAIL));
            }
            Ok(ProcessEvent::Output(OutputStream::Stderr, bytes)) => panic!("{}", bytes.escape_ascii()),
            Ok(ProcessEvent::Exited(exited)) => break Some(exited),
            Err(error) if error.kind == ErrorKind::SandboxGone => break None,
            Err(error) => panic!("{error}"),
        }
    };
    let text = String::from_utf8_lossy(&tail);
    let last = text.trim_end().lines().last().unwrap_or_default();
    (serde_json::from_str(last).ok(), exited)
}

/// More than the traps can be.
const COPY_MAX: usize = 64 << 20;

/// Takes the folder as an archive, and everything in it by its name. An error is an answer; a copy without
/// an end is none.
async fn copy_out(sandbox: &dyn Sandbox, folder: &str) {
    let copy = async {
        let files = sandbox.files();
        drain(folder, files.tar_out(folder.as_bytes()).await).await;
        for entry in files.list(folder.as_bytes()).await.expect("the traps are there") {
            let path = [folder.as_bytes(), b"/", &entry.name].concat();
            drain(&path.escape_ascii().to_string(), files.read(&path, 0, None).await).await;
        }
    };
    timeout(DEADLINE, copy).await.expect("the copy ends");
}

async fn drain(what: &str, source: Result<Box<dyn ByteSource>>) {
    let Ok(mut source) = source else { return };
    let mut total = 0;
    while let Ok(Some(bytes)) = source.next().await {
        total += bytes.len();
        assert!(total < COPY_MAX, "the copy of {what} does not end");
    }
}

/// Whether a sandbox still answers, or else why not, in the product's words.
pub async fn aftermath(sandbox: &dyn Sandbox) -> Result<Option<CauseOfDeath>, String> {
    let why = match answer(sandbox).await {
        Ok(status) if status.is_success() => return Ok(None),
        // What lies in files still fills the memory, and the stop tells of it.
        Ok(ExitStatus::Signal(9)) => return Ok(Some(CauseOfDeath::OutOfMemory)),
        Ok(status) => status.to_string(),
        Err(why) => why,
    };
    match timeout(DEADLINE, sandbox.ended()).await {
        Ok(ended) => Ok(Some(ended.cause)),
        Err(_) => Err(format!("it does not answer ({why}), and has not ended")),
    }
}
