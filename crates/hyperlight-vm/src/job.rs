//! One command or one call, in a machine that was restored for it.

use std::io;
use std::time::Duration;

use agentkernel_core::{Call, Error, ErrorKind};
use agentkernel_hypercalls::{CALL, RUN, digits};
use agentkernel_hyperlight::wire::{self, End, News, Refusal, Words};
use agentkernel_wasm::MachineCode;
use hyperlight_unikraft::{AppSandbox, CALL_PAYLOAD_MAX, Exec, Yield};

use crate::machine::Machine;
use crate::root::is_left_out;
use crate::shared::Shared;

/// How long a machine that waits is left alone, before somebody looks whether it is to be destroyed.
const STEP: Duration = Duration::from_millis(20);

/// How a shell says that a program could not be executed.
const NOT_EXECUTABLE: u8 = 126;

/// A module that traps ends as a program that calls abort.
const SIGABRT: u8 = 6;

/// Most of the words of whoever is in a machine that are passed on, characters.
const WORDS_MAX: usize = 200;

/// What has become of a command.
enum Outcome {
    Ended(End),
    Trapped(String),
    Refused(Refusal),
}

/// Runs a command and tells how it ended; whether its machine can be restored, and need not be destroyed.
pub fn run(
    machine: &mut Machine,
    words: &Words,
    module: Option<&MachineCode>,
    shared: &Shared,
) -> io::Result<bool> {
    let (outcome, is_healthy) = match module.map_or(Ok(()), MachineCode::check_command) {
        Err(why) => (Outcome::Refused(Refusal::Module(why)), true),
        Ok(()) => match perform(machine, RUN, text_of(words), shared) {
            Err(refusal) => (Outcome::Refused(refusal), true),
            Ok(done) => {
                let is_healthy = done.is_healthy;
                (answer(done, shared).map_or_else(Outcome::Ended, |result| of_result(&result)), is_healthy)
            }
        },
    };
    let has_started = shared.has_started();
    shared.is_over();
    tell(outcome, has_started, shared)?;
    Ok(is_healthy)
}

/// Says how a command has ended, or that it did not begin.
fn tell(outcome: Outcome, has_started: bool, shared: &Shared) -> io::Result<()> {
    let words = |words: String| News::Stderr(words.into_bytes());
    let outcome = match outcome {
        Outcome::Refused(refusal) if !has_started => return shared.say(&News::NotStarted(refusal)),
        outcome => outcome,
    };
    // Whoever is in the machine may have ended it without a word of its beginning, which is heard first.
    if !has_started {
        shared.say(&News::Started)?;
    }
    let end = match outcome {
        Outcome::Refused(why) => {
            shared.say(&words(format!("agentkernel: it was not executed: {why:?}\n")))?;
            End::Code(NOT_EXECUTABLE)
        }
        Outcome::Trapped(why) => {
            shared.say(&words(format!("agentkernel: the module trapped: {why}\n")))?;
            End::Signal(SIGABRT)
        }
        Outcome::Ended(end) => end,
    };
    shared.say(&News::Ended(end))
}

/// Calls a function of the module and tells what it returned; whether its machine can be restored.
pub fn call(
    machine: &mut Machine,
    call: &wire::Call,
    module: Option<&MachineCode>,
    shared: &Shared,
) -> io::Result<bool> {
    let (news, is_healthy) = match called(machine, call, module, shared) {
        Ok(answered) => answered,
        Err(why) => (News::NotReturned(why), true),
    };
    shared.is_over();
    shared.say(&news)?;
    Ok(is_healthy)
}

fn called(
    machine: &mut Machine,
    call: &wire::Call,
    module: Option<&MachineCode>,
    shared: &Shared,
) -> Result<(News, bool), Error> {
    const WHAT: &str = "call the function";
    let failed = |kind, why: String| Error::new(kind, WHAT, why);
    let module = module.ok_or_else(|| failed(ErrorKind::NotSupported, "there is no module".into()))?;
    let arguments = serde_json::from_str(&call.arguments);
    let arguments = arguments.map_err(|why| failed(ErrorKind::Internal, why.to_string()))?;
    let given = Call { function: call.function.clone(), arguments, timeout: None };
    let text = format!("{} {}", digits(call.function.as_bytes()), module.arguments(&given)?);
    let done = perform(machine, CALL, text, shared).map_err(|refusal| match refusal {
        Refusal::TooLong(bytes) => failed(ErrorKind::Usage, format!("its {bytes} bytes are too many")),
        other => failed(ErrorKind::Host, format!("the machine is of no use: {other:?}")),
    })?;
    let is_healthy = done.is_healthy;
    let news = match answer(done, shared) {
        Err(end) => News::Ended(end),
        Ok(result) => match result.split_once(' ').unwrap_or((&result, "")) {
            ("returned", numbers) => match module.results(&call.function, numbers) {
                Some(values) => News::Returned(serde_json::Value::from(values).to_string()),
                None => News::NotReturned(failed(ErrorKind::ProtocolBroken, NONSENSE.into())),
            },
            ("trapped", why) => News::NotReturned(failed(ErrorKind::Trapped, told(why))),
            _ => News::NotReturned(failed(ErrorKind::ProtocolBroken, NONSENSE.into())),
        },
    };
    Ok((news, is_healthy))
}

/// What one says who was got at, in a machine.
const NONSENSE: &str = "the machine said nothing that makes sense";

/// What came of something that was asked of a machine.
struct Done {
    /// Its answer; `None` if it is to be destroyed.
    result: Result<Option<String>, hyperlight_unikraft::Error>,
    /// What its kernel said.
    console: String,
    is_healthy: bool,
}

/// Asks it of a restored machine.
fn perform(machine: &mut Machine, function: &str, text: String, shared: &Shared) -> Result<Done, Refusal> {
    if text.len() + function.len() > CALL_PAYLOAD_MAX {
        return Err(Refusal::TooLong(text.len() / 2));
    }
    let leased = machine.lease().map_err(Refusal::Machine)?;
    shared.interrupt_by(leased.interrupt_handle());
    let result = finish(leased, function, text, shared);
    let is_healthy = result.is_ok() && !shared.is_killed();
    let console = if result.is_err() { leased.take_output().text } else { String::new() };
    Ok(Done { result, console, is_healthy })
}

/// Drives it to its end; `None` if it is to be destroyed.
fn finish(
    machine: &mut AppSandbox,
    function: &str,
    text: String,
    shared: &Shared,
) -> Result<Option<String>, hyperlight_unikraft::Error> {
    use hyperlight_unikraft::Error;
    machine.submit(Exec::Call { function: function.into(), input: text })?;
    while !shared.is_killed() {
        match machine.step(STEP)? {
            Yield::CallDone => {
                let result = machine.take_result().unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(&result).into_owned()));
            }
            Yield::CallFailed { status } => return Err(Error::CallFailed { status }),
            Yield::Exited { status } => return Err(Error::GuestExited { status }),
            Yield::Blocked { .. } => {}
        }
    }
    Ok(None)
}

/// What the machine answered, or how it ended before it did.
fn answer(done: Done, shared: &Shared) -> Result<String, End> {
    match done.result {
        Ok(Some(result)) => Ok(result),
        Ok(None) => Err(End::Killed),
        Err(_) if shared.is_killed() => Err(End::Killed),
        Err(why) => Err(crashed(&why, &done.console)),
    }
}

/// What our agent says, unless somebody in the machine has said it: it is believed of this command, and of nothing else.
fn of_result(result: &str) -> Outcome {
    match result.split_once(' ').unwrap_or((result, "")) {
        ("trapped", why) => return Outcome::Trapped(told(why)),
        ("unmade", why) => {
            let why = format!("no instance of the module could be made: {}", told(why));
            return Outcome::Refused(Refusal::Module(why));
        }
        _ => {}
    }
    let mut words = result.splitn(3, ' ');
    let (word, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let name = words.next().unwrap_or("");
    match (word, number.parse::<i32>()) {
        ("exit", Ok(code)) => Outcome::Ended(End::Code(code.to_le_bytes()[0])),
        ("signal", Ok(number)) => Outcome::Ended(End::Signal(number.to_le_bytes()[0])),
        ("refused", Ok(2)) if is_left_out(name) => Outcome::Refused(Refusal::ForkingShell),
        ("refused", Ok(number)) => Outcome::Refused(Refusal::Errno(number)),
        ("fixed-address", _) => Outcome::Refused(Refusal::FixedAddress),
        _ => Outcome::Refused(Refusal::Machine(NONSENSE.into())),
    }
}

/// A crash, by the signal that Linux would have given to the program.
fn crashed(why: &hyperlight_unikraft::Error, console: &str) -> End {
    const SIGKILL: u8 = 9;
    let line = console.lines().find(|line| line.contains("CRIT"));
    let signal = line.and_then(|line| line.split("Cannot deliver signal ").nth(1));
    let signal = signal.and_then(|rest| rest.split(' ').next()?.parse().ok()).filter(|number| *number < 65);
    let words = line.map_or_else(|| why.to_string(), ToOwned::to_owned);
    End::Crashed(signal.unwrap_or(SIGKILL), told(&words))
}

/// Words of whoever is in a machine, as far as they may be shown.
fn told(words: &str) -> String {
    words.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect()
}

/// A command as our agent reads it.
fn text_of(words: &Words) -> String {
    let variable = |(name, value): &(Vec<u8>, Vec<u8>)| [name, &b"="[..], value].concat();
    let Words { cwd, has_stdin, argv, .. } = words.clone();
    let env = words.env.iter().map(variable).collect();
    agentkernel_hypercalls::Words { cwd, has_stdin, argv, env }.to_text()
}
