//! One command, in a machine that was restored for it.

use std::io;
use std::time::Duration;

use agentkernel_hyperlight::wire::{End, News, Refusal, Words};
use hyperlight_unikraft::{AppSandbox, CALL_PAYLOAD_MAX, Error, Exec, Yield};

use crate::machine::Machine;
use crate::root::is_left_out;
use crate::shared::Shared;

/// The name of our agent's one function.
const FUNCTION: &str = "run";

/// How long a machine that waits is left alone, before somebody looks whether it is to be destroyed.
const STEP: Duration = Duration::from_millis(20);

/// How a shell says that a program could not be executed.
const NOT_EXECUTABLE: u8 = 126;

/// What has become of it.
enum Outcome {
    Ended(End),
    Refused(Refusal),
}

/// Runs it and tells how it ended; whether its machine can be restored, and need not be destroyed.
pub fn run(machine: &mut Machine, words: &Words, shared: &Shared) -> io::Result<bool> {
    let call = digits(&text_of(words));
    let leased = if call.len() + FUNCTION.len() > CALL_PAYLOAD_MAX {
        Err(Refusal::TooLong(call.len() / 2))
    } else {
        machine.lease().map_err(Refusal::Machine)
    };
    let (outcome, is_healthy) = match leased {
        Err(refusal) => (Outcome::Refused(refusal), true),
        Ok(leased) => {
            shared.interrupt_by(leased.interrupt_handle());
            let finished = finish(leased, call, shared);
            let is_healthy = finished.is_ok() && !shared.is_killed();
            (outcome(finished, leased, shared), is_healthy)
        }
    };
    let has_started = shared.has_started();
    shared.is_over();
    let news = match outcome {
        Outcome::Ended(end) => {
            if !has_started {
                shared.say(&News::Started)?;
            }
            News::Ended(end)
        }
        Outcome::Refused(refusal) if !has_started => News::NotStarted(refusal),
        Outcome::Refused(why) => {
            shared.say(&News::Stderr(format!("agentkernel: it was not executed: {why:?}\n").into_bytes()))?;
            News::Ended(End::Code(NOT_EXECUTABLE))
        }
    };
    shared.say(&news)?;
    Ok(is_healthy)
}

/// Drives it to its end; `None` if it is to be destroyed.
fn finish(machine: &mut AppSandbox, call: String, shared: &Shared) -> Result<Option<String>, Error> {
    machine.submit(Exec::Call { function: FUNCTION.into(), input: call })?;
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

fn outcome(finished: Result<Option<String>, Error>, machine: &AppSandbox, shared: &Shared) -> Outcome {
    match finished {
        Ok(Some(result)) => of_result(&result),
        Ok(None) => Outcome::Ended(End::Killed),
        Err(_) if shared.is_killed() => Outcome::Ended(End::Killed),
        Err(why) => Outcome::Ended(crashed(&why, &machine.take_output().text)),
    }
}

/// What our agent says, unless somebody in the machine has said it: it is believed of this command, and of nothing else.
fn of_result(result: &str) -> Outcome {
    let mut words = result.splitn(3, ' ');
    let (word, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let name = words.next().unwrap_or("");
    match (word, number.parse::<i32>()) {
        ("exit", Ok(code)) => Outcome::Ended(End::Code(code.to_le_bytes()[0])),
        ("signal", Ok(number)) => Outcome::Ended(End::Signal(number.to_le_bytes()[0])),
        ("refused", Ok(2)) if is_left_out(name) => Outcome::Refused(Refusal::ForkingShell),
        ("refused", Ok(number)) => Outcome::Refused(Refusal::Errno(number)),
        ("fixed-address", _) => Outcome::Refused(Refusal::FixedAddress),
        _ => Outcome::Refused(Refusal::Machine("the machine said nothing that makes sense".into())),
    }
}

/// A crash, by the signal that Linux would have given to the program.
fn crashed(why: &Error, console: &str) -> End {
    const SIGKILL: u8 = 9;
    let line = console.lines().find(|line| line.contains("CRIT"));
    let signal = line.and_then(|line| line.split("Cannot deliver signal ").nth(1));
    let signal = signal.and_then(|rest| rest.split(' ').next()?.parse().ok()).filter(|number| *number < 65);
    let words = line.map_or_else(|| why.to_string(), ToOwned::to_owned);
    let words = words.chars().filter(|letter| !letter.is_control()).take(200).collect();
    End::Crashed(signal.unwrap_or(SIGKILL), words)
}

/// A command as our agent reads it: folder, stdin, number of words, words, variables, each ended by a zero.
fn text_of(words: &Words) -> Vec<u8> {
    let mut text = Vec::new();
    let mut add = |word: &[u8]| {
        text.extend_from_slice(word);
        text.push(0);
    };
    add(&words.cwd);
    add(if words.has_stdin { b"stdin" } else { b"" });
    add(words.argv.len().to_string().as_bytes());
    words.argv.iter().for_each(|word| add(word));
    for (name, value) in &words.env {
        add(&[name, &b"="[..], value].concat());
    }
    text
}

/// Bytes as hexadecimal digits: calls carry text alone.
pub fn digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |number: u8| char::from(DIGITS[usize::from(number)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
