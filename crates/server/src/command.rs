//! A command in a sandbox: started, listened to by one client, and told how it ended.

pub mod attach;
pub mod call;
pub mod exec;
pub mod kept;
pub mod registered;
pub mod run;
pub mod socket;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_api::{
    CauseOfDeath, CommandRequest, CommandResult, ErrorKind, ProcessInfo, ProcessState, Started,
};
use agentkernel_core::{Exited, OutputStream, Process, ProcessControl, ProcessEvent};
use agentkernel_runtime::run::DEADLINE_GRACE;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{interval, sleep, timeout};

use crate::clock;
use crate::convert;
use crate::failure::{Failure, Outcome};
use crate::fate::Verdict;
use crate::guest::{Visit, broken};
use crate::keeper;

use registered::{AGENT_DEADLINE, Registered, check_agent};

/// How long a sandbox may take to say how it ended, once a command in it is lost.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why a client is not there any more.
#[derive(Debug)]
pub enum Left {
    /// It went away.
    Gone,
    /// It said something that makes no sense.
    Wrong(Failure),
}

/// Who is told of a command.
pub trait Client: Send {
    /// It has been executed.
    fn started(&mut self, started: Started) -> impl Future<Output = Result<(), Left>> + Send;
    /// Takes some output. May wait: the command then waits, too.
    fn output(&mut self, stream: OutputStream, bytes: Bytes)
    -> impl Future<Output = Result<(), Left>> + Send;
    /// Nothing has been said for a while: is it still there?
    fn tick(&mut self) -> impl Future<Output = Result<(), Left>> + Send;
}

/// What a client says to a command.
pub trait Input: Send {
    /// Waits, before there is a command, until the client leaves.
    fn leaves(&mut self) -> impl Future<Output = Left> + Send;
    /// Passes everything on to the command until the client leaves.
    fn pass_on(&mut self, control: Arc<dyn ProcessControl>) -> impl Future<Output = Left> + Send;
}

/// A client that says nothing. When it goes away, whatever is done for it is dropped.
pub struct Silent;

impl Input for Silent {
    async fn leaves(&mut self) -> Left {
        std::future::pending().await
    }

    async fn pass_on(&mut self, _control: Arc<dyn ProcessControl>) -> Left {
        std::future::pending().await
    }
}

/// A command that has been executed. Dropping it kills it.
pub struct Running {
    /// It.
    pub process: Box<dyn Process>,
    /// What is told of it.
    pub info: ProcessInfo,
    /// Until when the host waits for its end.
    timeout: Option<Duration>,
    began: Instant,
    place: OwnedSemaphorePermit,
}

/// Executes a command.
pub async fn start(visit: &Visit, request: &CommandRequest) -> Outcome<Running> {
    let began = Instant::now();
    let house = visit.house();
    let command = convert::command(request, &house.env, house.spec.profile())?;
    let place = visit.guest().processes.clone().try_acquire_owned().map_err(|_| {
        Failure::busy("run the command", "as many commands as there may be run in this sandbox")
    })?;
    let timeout = command.timeout;
    let process = tokio::select! {
        process = visit.attempt(house.sandbox.exec(&command)) => process?,
        () = expire(timeout) => {
            check_agent(visit, AGENT_DEADLINE).await;
            return Err(Failure::new(ErrorKind::Timeout, "run the command", "it did not start in its time"));
        }
    };
    let info = ProcessInfo {
        pid: process.pid(),
        argv: request.argv.clone(),
        state: ProcessState::Running,
        background: request.background,
        started_ms: clock::wall_ms(),
        result: None,
    };
    Ok(Running { process, info, timeout, began, place })
}

/// How much output there was, and how much of it is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    pub limit: u64,
    pub total: u64,
}

impl Count {
    /// Counts `length` more bytes, and says how many of them are within the limit.
    fn admit(&mut self, length: usize) -> usize {
        let room = self.limit.saturating_sub(self.total);
        self.total = self.total.saturating_add(length as u64);
        usize::try_from(room).map_or(length, |room| room.min(length))
    }
}

/// What became of a command.
#[derive(Debug)]
pub enum Heard {
    /// It ended.
    Exited(Exited),
    /// Its time was up, and the guest did not end it.
    TimedOut,
    /// Its sandbox ended under it.
    Ended(Verdict),
    /// It was lost.
    Lost(Failure),
    /// Its client left.
    Left(Left),
}

impl Running {
    /// Listens to the command for its client, until it ends or must.
    pub async fn attend<C: Client, I: Input>(
        mut self,
        visit: &Visit,
        count: &mut Count,
        client: &mut C,
        input: &mut I,
        ping_interval: Duration,
    ) -> Heard {
        let control = self.process.control();
        let registered = Registered::new(visit, &self.info, control.clone());
        let heard = tokio::select! {
            biased;
            heard = hear(self.process.as_mut(), count, client, ping_interval) => heard,
            left = input.pass_on(control) => Heard::Left(left),
            verdict = visit.guest().fate.decided() => Heard::Ended(verdict),
            () = expire(self.timeout) => Heard::TimedOut,
        };
        let heard = match heard {
            Heard::Lost(failure) => last_words(visit, failure).await,
            Heard::Ended(verdict) => {
                let broken = broken(&verdict, last_error(self.process.as_mut())).await;
                broken.map_or(Heard::Ended(verdict), Heard::Lost)
            }
            heard => heard,
        };
        if let Heard::Exited(exited) = &heard {
            registered.exited(CommandResult { output_bytes: count.total, ..convert::exited(exited) });
        }
        heard
    }

    /// Since it was asked for.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The command for its sandbox's keeper.
    pub fn into_background(self, visit: &Visit) -> ProcessInfo {
        let info = self.info.clone();
        drop(visit.guest().keeper.send(keeper::Ask::Keep(self.info, self.process, Some(self.place))));
        info
    }
}

/// Passes output on, up to its limit, until the command has ended.
async fn hear<C: Client>(
    process: &mut dyn Process,
    count: &mut Count,
    client: &mut C,
    ping_interval: Duration,
) -> Heard {
    let mut pings = interval(ping_interval);
    pings.reset();
    loop {
        let event = {
            let mut next = pin!(process.next());
            loop {
                tokio::select! {
                    biased;
                    event = &mut next => break event,
                    _ = pings.tick() => if let Err(left) = client.tick().await {
                        return Heard::Left(left);
                    },
                }
            }
        };
        match event {
            Ok(ProcessEvent::Output(stream, mut bytes)) => {
                bytes.truncate(count.admit(bytes.len()));
                if !bytes.is_empty()
                    && let Err(left) = client.output(stream, bytes).await
                {
                    return Heard::Left(left);
                }
            }
            Ok(ProcessEvent::Exited(exited)) => return Heard::Exited(exited),
            Err(error) => return Heard::Lost(error.into()),
        }
    }
}

/// How a command whose sandbox has ended was lost; what it had said before is told no more.
async fn last_error(process: &mut dyn Process) -> agentkernel_core::Result<()> {
    while let ProcessEvent::Output(..) = process.next().await? {}
    Ok(())
}

/// A command that is lost mostly is because its sandbox ends; its keeper hears of that a moment later.
async fn last_words(visit: &Visit, failure: Failure) -> Heard {
    let fate = &visit.guest().fate;
    if failure.kind == ErrorKind::ProtocolBroken {
        fate.suspect(CauseOfDeath::BoundaryCrashed, failure.error.to_string());
        return Heard::Lost(failure);
    }
    timeout(LAST_WORDS, fate.decided()).await.map_or(Heard::Lost(failure), Heard::Ended)
}

/// Waits until the command's time is up for the host, too; for ever, if it has all the time.
async fn expire(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time + DEADLINE_GRACE).await,
        None => std::future::pending().await,
    }
}
