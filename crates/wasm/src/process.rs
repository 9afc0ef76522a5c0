//! A command: `_start` of an instance of its own, as a task.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use agentkernel_core::{
    Command, Error, ErrorKind, ExitStatus, Exited, OutputStream, Process, ProcessControl, ProcessEvent,
    Result, SignalAction, SignalTarget, Stdin, TerminalSize, Usage,
};
use agentkernel_instance::{Ended, START, cause};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use wasmtime::Store;
use wasmtime_wasi::WasiCtxBuilder;

use crate::call::{full, listed};
use crate::cpu::{Metered, usage};
use crate::guest::Guest;
use crate::refusals::{self, Words};
use crate::sandbox::{House, Inhabitant};
use crate::streams::{Input, Output};

/// Bytes of stdin that may wait for the module.
const STDIN_BYTES: usize = 64 << 10;
/// Pieces of output that may wait for whoever takes it.
const EVENTS_MAX: usize = 16;
const SIGKILL: u8 = 9;
/// A command that traps ends as one that calls abort.
const SIGABRT: u8 = 6;

/// A running command. Dropping it ends it.
pub(crate) struct WasmProcess {
    pid: u32,
    events: mpsc::Receiver<ProcessEvent>,
    control: Arc<Control>,
    task: AbortHandle,
    is_over: bool,
}

/// Talks to it.
struct Control {
    stdin: Mutex<Option<DuplexStream>>,
    /// The signal that ends it.
    killer: watch::Sender<Option<u8>>,
}

/// Starts a command; returns when its instance is there.
pub(crate) async fn start(house: &Arc<House>, command: &Command) -> Result<WasmProcess> {
    let words = refusals::words(command)?;
    let inhabitant = house.enter()?;
    let (events, taken) = mpsc::channel(EVENTS_MAX);
    let (killer, killed) = watch::channel(None);
    let (mut wasi, mut stdin) = (outside(&words, &events), None);
    if command.stdin == Stdin::Pipe {
        let (ours, theirs) = tokio::io::duplex(STDIN_BYTES);
        wasi.stdin(Input::of(theirs));
        stdin = Some(ours);
    }
    let store = house.machine.store(Some(wasi.build_p1()), &house.purse);
    let (started, answer) = oneshot::channel();
    let pid = inhabitant.pid;
    let life = Life { house: Arc::clone(house), inhabitant, killed, events, timeout: command.timeout };
    let task = house.machine.workers.spawn(life.live(store, started))?.abort_handle();
    let process = WasmProcess {
        pid,
        events: taken,
        control: Arc::new(Control { stdin: Mutex::new(stdin), killer }),
        task,
        is_over: false,
    };
    let gone = || Error::new(ErrorKind::SandboxGone, "start the command", "its sandbox has ended");
    answer.await.unwrap_or_else(|_| Err(gone()))?;
    Ok(process)
}

/// What the module sees of the outside: its words, its streams, clocks and random bytes.
fn outside(words: &Words, events: &mpsc::Sender<ProcessEvent>) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(&words.arguments).envs(&words.variables);
    wasi.stdout(Output::new(OutputStream::Stdout, events));
    wasi.stderr(Output::new(OutputStream::Stderr, events));
    wasi
}

/// All that a command needs to live.
struct Life {
    house: Arc<House>,
    inhabitant: Inhabitant,
    killed: watch::Receiver<Option<u8>>,
    events: mpsc::Sender<ProcessEvent>,
    timeout: Option<Duration>,
}

/// How it ended.
struct End {
    status: ExitStatus,
    timed_out: bool,
    /// What is to be said of it on stderr.
    words: Option<String>,
}

impl End {
    fn by_signal(number: u8) -> Self {
        Self { status: ExitStatus::Signal(number), timed_out: false, words: None }
    }
}

impl Life {
    async fn live(mut self, mut store: Store<Guest>, started: oneshot::Sender<Result<()>>) {
        let began = Instant::now();
        let running = self.house.machine.ticker.run();
        let used = Arc::new(AtomicU64::new(0));
        let meters = [Arc::clone(&used), Arc::clone(&self.house.used_ns)];
        let work = Metered::new(perform(&self.house, &mut store, started), &self.house.processors, meters);
        let end = tokio::select! {
            biased;
            number = signal(&mut self.killed) => End::by_signal(number),
            _ = self.house.ended() => End::by_signal(SIGKILL),
            () = expire(self.timeout) => End { timed_out: true, ..End::by_signal(SIGKILL) },
            ended = work => match ended {
                Some(end) => end,
                None => return, // it was never there, and whoever waits for it knows why
            },
        };
        drop(running);
        let usage = usage(&used, store.data().meter.bytes, began);
        // It is gone before its end is told, which may have to wait for whoever hears it.
        drop((store, self.inhabitant));
        tell(&self.events, end, usage).await;
    }
}

/// Says the last words. That nobody hears them any more is no failure.
async fn tell(events: &mpsc::Sender<ProcessEvent>, end: End, usage: Usage) {
    if let Some(words) = end.words {
        let words = Bytes::from(format!("agentkernel: the module trapped: {words}\n"));
        drop(events.send(ProcessEvent::Output(OutputStream::Stderr, words)).await);
    }
    let exited = Exited { status: end.status, timed_out: end.timed_out, usage };
    drop(events.send(ProcessEvent::Exited(exited)).await);
}

/// Makes the instance and runs it to its end; `None` if it could not be made.
async fn perform(
    house: &House,
    store: &mut Store<Guest>,
    started: oneshot::Sender<Result<()>>,
) -> Option<End> {
    let refused = |why: String| Err(Error::new(ErrorKind::CommandNotExecutable, "start the command", why));
    let instance = match house.program.instances.instantiate_async(&mut *store).await {
        Ok(instance) => instance,
        Err(why) => {
            let error = full("start the command", &why).map_or_else(
                || {
                    let why = cause(&why, store.data().meter.blame());
                    refused(format!("no instance of the module could be made: {why}"))
                },
                Err,
            );
            drop(started.send(error));
            return None;
        }
    };
    let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, START) else {
        drop(started.send(refused(no_start(&house.program.functions()))));
        return None;
    };
    started.send(Ok(())).ok()?;
    let result = start.call_async(&mut *store, ()).await;
    Some(match Ended::of(&result, || store.data().meter.blame()) {
        Ended::Code(code) => End { status: ExitStatus::Code(code), timed_out: false, words: None },
        Ended::Trapped(why) => End { words: Some(why), ..End::by_signal(SIGABRT) },
    })
}

pub(crate) fn no_start(functions: &[&str]) -> String {
    let told = if functions.is_empty() { "none".into() } else { listed(functions) };
    format!("the module exports no _start, and is no command; its functions, for agentkernel call: {told}")
}

async fn expire(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Waits for a signal that ends it.
async fn signal(killed: &mut watch::Receiver<Option<u8>>) -> u8 {
    let number = killed.wait_for(Option::is_some).await.map(|number| *number);
    match number {
        Ok(number) => number.unwrap_or(SIGKILL),
        // Whoever could send one is gone, and the command with him.
        Err(_) => std::future::pending().await,
    }
}

impl Drop for WasmProcess {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Process for WasmProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn next(&mut self) -> Result<ProcessEvent> {
        let over = |why: &str| Error::new(ErrorKind::SandboxGone, "hear the command", why);
        if self.is_over {
            return Err(over("it has ended"));
        }
        let event = self.events.recv().await.ok_or_else(|| over("it was given up"))?;
        self.is_over = matches!(event, ProcessEvent::Exited(_));
        Ok(event)
    }

    fn control(&self) -> Arc<dyn ProcessControl> {
        Arc::clone(&self.control) as Arc<dyn ProcessControl>
    }
}

#[async_trait]
impl ProcessControl for Control {
    async fn write_stdin(&self, bytes: Bytes) -> Result<()> {
        if let Some(stdin) = &mut *self.stdin.lock().await {
            // What is said after its end is ignored.
            drop(stdin.write_all(&bytes).await);
        }
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        drop(self.stdin.lock().await.take());
        Ok(())
    }

    async fn signal(&self, number: u8, _target: SignalTarget) -> Result<()> {
        match SignalAction::of(number)? {
            SignalAction::End => {
                self.killer.send_if_modified(|killed| killed.is_none() && killed.replace(number).is_none());
                Ok(())
            }
            SignalAction::Nothing => Ok(()),
            SignalAction::Stop => {
                let why = "a Wasm module cannot be stopped and continued";
                Err(Error::new(ErrorKind::NotSupported, "send a signal", why).on(number))
            }
        }
    }

    async fn resize(&self, _size: TerminalSize) -> Result<()> {
        Ok(()) // it has no terminal
    }
}
