//! A run by the daemon.

use agentkernel_api as api;
use agentkernel_client::{Address, Client, Connection};
use agentkernel_core::{CauseOfDeath, Phases, TerminalSize};
use agentkernel_runtime::{Ending, OutputCount, RunIo, RunOutput, RunRequest, run};

use super::done::{Done, Way};
use super::{Args, Input};
use crate::cli::{Format, wire};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::remote::RemoteProcess;

/// A daemon that took a connection, and what it is to be asked.
pub struct Daemon {
    client: Client,
    connection: Connection,
    request: api::RunRequest,
    /// Whether all about the sandbox is to be told.
    in_detail: bool,
}

/// What came of asking.
pub enum Asked {
    /// The run is over.
    Done(Box<Done>),
    /// Nothing was begun: the daemon is about to end.
    Elsewhere,
}

/// The daemon, if there is one. `None` also if the request cannot be said in its words.
pub fn find(args: &Args, environment: &Environment, request: &RunRequest) -> Option<Daemon> {
    if args.no_daemon {
        return None;
    }
    let socket = environment.socket();
    let connection = Connection::unix(&socket).ok()?;
    let command = wire::command(&request.command, Some(request.output_limit.get())).ok()?;
    let sandbox = wire::sandbox(&request.spec, request.backend, args.name.as_ref());
    Some(Daemon {
        client: Client::new(Address::Unix(socket)),
        connection,
        request: api::RunRequest { sandbox, command },
        in_detail: args.format == Format::Json,
    })
}

impl Daemon {
    /// Runs the request. Says `Elsewhere` only as long as nothing has begun.
    pub async fn run(
        self,
        request: &RunRequest,
        input: &mut Input,
        output: &mut dyn RunOutput,
    ) -> Result<Asked, Failure> {
        let Self { client, connection, request: asked, in_detail } = self;
        let mut resized = None;
        let begin = async { RemoteProcess::begin(client.run_stream_on(connection, &asked).await?).await };
        let process = tokio::select! {
            begun = begin => match begun {
                Ok(process) => process,
                Err(error) if error.has_not_begun() => return Ok(Asked::Elsewhere),
                Err(error) => return Err(error.into()),
            },
            // The stream is dropped, by which the daemon knows.
            number = run::end_asked(&mut input.signals, &mut resized) => {
                return Ok(Asked::Done(Box::new(not_begun(request, number))));
            }
        };
        let started = process.started().clone();
        let mut done = hear(process, request, input, output, resized).await?;
        if let Some(name) = asked.sandbox.name {
            done.name = name;
            // Whoever gave it a name may want to give it again: the reply comes before the sandbox is gone.
            drop(client.stop(&started.sandbox).await);
        }
        if in_detail {
            done.choice = choice(&client, &started.sandbox).await;
        }
        Ok(Asked::Done(Box::new(done)))
    }
}

/// Hears a command that has been executed to its end.
async fn hear(
    process: RemoteProcess,
    request: &RunRequest,
    input: &mut Input,
    output: &mut dyn RunOutput,
    resized: Option<TerminalSize>,
) -> Result<Done, Failure> {
    output.ready();
    let started = process.started().clone();
    let mut count = OutputCount::new(request.output_limit);
    let io = RunIo { stdin: input.stdin.take(), output, signals: input.take_signals() };
    let heard = process.attend(request.command.timeout, resized, io, &mut count).await?;
    let total = request.began.elapsed();
    let result = heard.result.unwrap_or_default();
    Ok(Done {
        choice: None,
        name: started.sandbox,
        ending: heard.ending,
        cause: heard.cause.unwrap_or(CauseOfDeath::Exited),
        output: count,
        phases: wire::phases(&result.phases, total),
        stopped: None,
        way: Way { by_daemon: true, origin: started.origin.or(result.origin) },
    })
}

/// What it ran in, and why. A detail of a run that is over: that it cannot be had is no failure.
async fn choice(client: &Client, sandbox: &str) -> Option<(String, String)> {
    let sandbox = client.sandbox(sandbox).await.ok()?;
    Some((sandbox.backend, sandbox.reason))
}

/// A run that was asked to end before its command had been executed.
fn not_begun(request: &RunRequest, number: u8) -> Done {
    Done {
        choice: None,
        name: request.spec.name().to_string(),
        ending: Ending::Signalled(number),
        cause: CauseOfDeath::Killed,
        output: OutputCount::new(request.output_limit),
        phases: Phases { total: request.began.elapsed(), ..Phases::default() },
        stopped: None,
        way: Way { by_daemon: true, origin: None },
    }
}
