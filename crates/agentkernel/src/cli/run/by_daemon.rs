//! A run by the daemon.

use agentkernel_api as api;
use agentkernel_client::{Address, Client, CommandStream, Connection, Error};
use agentkernel_core::{CauseOfDeath, Phases, Stopped, TerminalSize};
use agentkernel_runtime::{Ending, OutputCount, RunIo, RunOutput, RunRequest, run};

use super::done::{Done, Way};
use super::{Args, Input};
use crate::cli::{Format, daemon, wire};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::remote::RemoteProcess;

/// A daemon, and what it is to be asked.
pub struct Daemon {
    client: Client,
    /// Made already, if it could be without an async runtime.
    connection: Option<Connection>,
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

/// The daemon that is to run it; `None` if we are. A daemon that was named by the user is the only one that will do;
/// our own has to answer, and to have words for the request.
pub fn find(args: &Args, environment: &Environment, request: &RunRequest) -> Result<Option<Daemon>, Failure> {
    if args.run.no_daemon {
        return Ok(None);
    }
    let address = environment.daemon()?;
    let connection = match &address {
        Address::Unix(socket) if !environment.is_daemon_named() => match Connection::unix(socket) {
            Ok(connection) => Some(connection),
            Err(_) => return Ok(None),
        },
        _ => None,
    };
    let command = match wire::command(&request.command, Some(request.output_limit.get())) {
        Ok(command) => command,
        Err(_) if !environment.is_daemon_named() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let sandbox = wire::sandbox(&request.spec, request.backend, args.name.as_ref(), args.sandbox.hostname());
    Ok(Some(Daemon {
        client: Client::new(address),
        connection,
        request: api::RunRequest { sandbox, command },
        in_detail: args.run.format == Format::Json,
    }))
}

impl Daemon {
    /// Runs the request. Says `Elsewhere` only as long as nothing has begun.
    pub async fn run(
        self,
        environment: &Environment,
        request: &RunRequest,
        input: &mut Input,
        output: &mut dyn RunOutput,
    ) -> Result<Asked, Failure> {
        let Self { client, connection, request: asked, in_detail } = self;
        let mut resized = None;
        let begin = async { RemoteProcess::begin(open(&client, connection, &asked).await?).await };
        let process = tokio::select! {
            begun = begin => match begun {
                Ok(process) => process,
                Err(error) if error.has_not_begun() && !environment.is_daemon_named() => {
                    return Ok(Asked::Elsewhere);
                }
                Err(error) => return Err(daemon::explained(environment, &client, error).await.into()),
            },
            // The stream is dropped, by which the daemon knows.
            number = run::end_asked(&mut input.signals, &mut resized) => {
                return Ok(Asked::Done(Box::new(not_begun(request, number))));
            }
        };
        let sandbox = process.started().sandbox.clone();
        let mut done = hear(process, request, input, output, resized).await?;
        if let Some(name) = asked.sandbox.name {
            done.name = name;
        }
        if in_detail {
            tell_more(&mut done, &client, &sandbox, request).await;
        }
        Ok(Asked::Done(Box::new(done)))
    }
}

/// The stream of the run, on the connection that there is or one of its own.
async fn open(
    client: &Client,
    connection: Option<Connection>,
    request: &api::RunRequest,
) -> Result<CommandStream, Error> {
    match connection {
        Some(connection) => client.run_stream_on(connection, request).await,
        None => client.run_stream(request).await,
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
        warning: started.warning,
        name: started.sandbox,
        ending: heard.ending,
        cause: heard.cause.unwrap_or(CauseOfDeath::Exited),
        output: count,
        phases: wire::phases(&result.phases, total),
        stopped: None,
        way: Way { by_daemon: true, origin: started.origin.or(result.origin) },
    })
}

/// Waits until the sandbox is gone, and tells what is known only then, as for a run of our own. A detail of a run that
/// is over: that it cannot be had is no failure.
async fn tell_more(done: &mut Done, client: &Client, sandbox: &str, request: &RunRequest) {
    let ended = match client.stop(sandbox).await {
        Ok(ended) => ended,
        // It has ended already, which comes with the refusal.
        Err(Error::Refused(error)) => match error.sandbox {
            Some(ended) => *ended,
            None => return,
        },
        Err(_) => return,
    };
    done.phases.stop = ended.phases.stop_ns.map(std::time::Duration::from_nanos);
    done.phases.total = request.began.elapsed();
    done.stopped = ended.out_of_memory_kills.map(|out_of_memory_kills| Stopped {
        cause: None,
        out_of_memory_kills,
        memory_peak_bytes: ended.memory_peak_bytes,
    });
    done.choice = Some((ended.backend, ended.reason));
}

/// A run that was asked to end before its command had been executed.
fn not_begun(request: &RunRequest, number: u8) -> Done {
    Done {
        choice: None,
        warning: None,
        name: request.spec.name().to_string(),
        ending: Ending::Signalled(number),
        cause: CauseOfDeath::Killed,
        output: OutputCount::new(request.output_limit),
        phases: Phases { total: request.began.elapsed(), ..Phases::default() },
        stopped: None,
        way: Way { by_daemon: true, origin: None },
    }
}
