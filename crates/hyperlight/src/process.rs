//! A command, from its start to its handle.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{
    Command, Error, ErrorKind, Process, ProcessControl, ProcessEvent, Result, SignalAction, SignalTarget,
    TerminalSize,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::life::Life;
use crate::refusals;
use crate::sandbox::House;
use crate::wire::{News, Order, Refusal, STDIN_WINDOW};

/// Pieces of output that may wait for whoever takes it.
const EVENTS_MAX: usize = 16;

/// A machine that does not begin with its command by then has no agent any more. In an emulated host it takes half a second.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Its PID in a machine where nothing else runs but our agent.
const PID: u32 = 2;

/// A running command. Dropping it ends it.
pub(crate) struct HyperlightProcess {
    events: mpsc::Receiver<ProcessEvent>,
    control: Arc<Control>,
    is_over: bool,
}

/// Talks to it.
struct Control {
    house: Arc<House>,
    /// Bytes of stdin that may still be sent; closed at its end.
    window: Arc<Semaphore>,
    killer: Arc<watch::Sender<Option<u8>>>,
}

/// Starts a command; returns when its program has been executed.
pub(crate) async fn start(house: &Arc<House>, command: &Command) -> Result<HyperlightProcess> {
    house.check_open()?;
    let words = refusals::words(command, house)?;
    let Ok(mut hearing) = Arc::clone(&house.hearing).try_lock_owned() else {
        let why = "a command runs in it already, and its machine has all the memory of this sandbox";
        let error = Error::new(ErrorKind::CommandRefused, "start the command", why).on(command.program());
        return Err(error.hint("wait for the other one, or make another sandbox"));
    };
    let gone = |why: std::io::Error| {
        house.lose();
        Error::new(ErrorKind::SandboxGone, "start the command", why).on(command.program())
    };
    house.helper.order(&Order::Run(words)).await.map_err(gone)?;
    let answer = timeout(START_DEADLINE, hearing.next()).await;
    match answer.unwrap_or_else(|late| Err(late.into())).map_err(gone)? {
        News::Started => {}
        News::NotStarted(why) => return Err(refused(command, &why)),
        other => return Err(gone(std::io::Error::other(format!("the helper said {other:?}")))),
    }
    let (events, taken) = mpsc::channel(EVENTS_MAX);
    let (killer, killed) = watch::channel(None);
    let window = Arc::new(Semaphore::new(STDIN_WINDOW));
    let control = Control { house: Arc::clone(house), window: Arc::clone(&window), killer: Arc::new(killer) };
    let (house, most) = (Arc::clone(house), command.timeout);
    tokio::spawn(Life { house, hearing, events, killed, timeout: most, window }.live());
    Ok(HyperlightProcess { events: taken, control: Arc::new(control), is_over: false })
}

fn refused(command: &Command, why: &Refusal) -> Error {
    let error = |kind, why: &str| Error::new(kind, "start the command", why).on(command.program());
    match why {
        Refusal::Errno(2) => error(ErrorKind::CommandNotFound, "it is not in the root of this sandbox")
            .hint("name a folder that has it, and what it needs, with --rootfs"),
        Refusal::Errno(13) => error(ErrorKind::CommandNotExecutable, "permission denied"),
        Refusal::Errno(8) => error(ErrorKind::CommandNotExecutable, "it is no program for this machine"),
        Refusal::FixedAddress => error(
            ErrorKind::CommandNotExecutable,
            "it is not position-independent (ELF type EXEC), and this kernel runs no others",
        )
        .hint("build it as PIE, or use another backend"),
        Refusal::ForkingShell => error(
            ErrorKind::CommandNotExecutable,
            "a shell that forks would run it, and this kernel has vfork alone: its pipes would silently give wrong results",
        )
        .hint("name the program itself, or use another backend"),
        Refusal::TooLong(bytes) => error(
            ErrorKind::CommandRefused,
            &format!("its words have {bytes} bytes, and {WORDS_MAX} can be handed to a machine"),
        )
        .hint("hand them over on stdin"),
        Refusal::Errno(number) => {
            let why = std::io::Error::from_raw_os_error(*number);
            error(ErrorKind::CommandRefused, &why.to_string())
        }
        Refusal::Module(why) => error(ErrorKind::CommandNotExecutable, why),
        Refusal::Machine(why) => error(ErrorKind::CommandRefused, why),
    }
}

/// Most bytes of all words of a command: Hyperlight's largest call, of which each byte takes two.
const WORDS_MAX: usize = ((1 << 20) - (8 << 10)) / 2;

#[async_trait]
impl Process for HyperlightProcess {
    fn pid(&self) -> u32 {
        PID
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

impl Drop for HyperlightProcess {
    fn drop(&mut self) {
        self.control.end_by(9);
    }
}

impl Control {
    fn end_by(&self, number: u8) {
        self.killer.send_if_modified(|killed| killed.is_none() && killed.replace(number).is_none());
    }
}

#[async_trait]
impl ProcessControl for Control {
    async fn write_stdin(&self, bytes: Bytes) -> Result<()> {
        for piece in bytes.chunks(STDIN_WINDOW / 2) {
            let Ok(room) = u32::try_from(piece.len()) else { return Ok(()) };
            // What is said after its end is ignored.
            let Ok(permit) = self.window.acquire_many(room).await else { return Ok(()) };
            permit.forget();
            drop(self.house.helper.order(&Order::Stdin(piece.to_vec())).await);
        }
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        if !self.window.is_closed() {
            drop(self.house.helper.order(&Order::StdinEnd).await);
        }
        Ok(())
    }

    async fn signal(&self, number: u8, _target: SignalTarget) -> Result<()> {
        match SignalAction::of(number)? {
            SignalAction::End => {
                self.end_by(number);
                Ok(())
            }
            SignalAction::Nothing => Ok(()),
            SignalAction::Stop => {
                let why = "a machine cannot be stopped and continued";
                Err(Error::new(ErrorKind::NotSupported, "send a signal", why).on(number))
            }
        }
    }

    async fn resize(&self, _size: TerminalSize) -> Result<()> {
        Ok(()) // it has no terminal
    }
}
