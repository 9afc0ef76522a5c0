//! The one bridge from what went wrong to a message and an exit code.

use std::io::{self, Write as _};

use agentkernel_core::{CauseOfDeath, Error, ErrorKind, nearest};
use agentkernel_runtime::Ending;
use clap::error::{ContextKind, ContextValue};

/// Exit code of a command that was ended because its time was up.
const TIMED_OUT: u8 = 124;
/// Exit code of our own failures.
pub const OURS: u8 = 125;
/// Exit code of a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code of a command that does not exist.
const NOT_FOUND: u8 = 127;
/// Exit code of a wrong request.
const USAGE: u8 = 2;
/// Exit code of a call that trapped: 128 + SIGABRT, as a command that does.
const TRAPPED: u8 = BY_SIGNAL + 6;
/// Exit code of a program whose reader went away: 128 + SIGPIPE, as if it had died of it.
const READER_GONE: u8 = BY_SIGNAL + 13;
/// To which the number of a signal is added that ended the command.
const BY_SIGNAL: u8 = 128;
const SIGKILL: u8 = 9;

/// Why a subcommand did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// Something that the user must hear of.
    Error(Error),
    /// The daemon did not do what it was asked.
    Daemon(Box<agentkernel_client::Error>),
    /// Whoever read our stdout went away: he need not be told.
    ReaderGone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<agentkernel_client::Error> for Failure {
    fn from(error: agentkernel_client::Error) -> Self {
        Self::Daemon(Box::new(error))
    }
}

impl Failure {
    /// What the user must hear of, if anything.
    pub fn error(&self) -> Option<Error> {
        match self {
            Self::Error(error) => Some(error.clone()),
            Self::Daemon(error) => Some(Error::from((**error).clone())),
            Self::ReaderGone => None,
        }
    }

    /// The failure of a write to one of our streams.
    pub fn of_write(stream: &str, why: &io::Error) -> Self {
        if why.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::Error(Error::new(ErrorKind::Host, format!("write to {stream}"), why))
    }

    /// Says it on stderr, and returns the exit code.
    pub fn report(&self) -> u8 {
        if let Some(error) = self.error() {
            say_error(&error);
        }
        self.code()
    }

    fn code(&self) -> u8 {
        self.error().map_or(READER_GONE, |error| exit_code(error.kind))
    }
}

fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => USAGE,
        ErrorKind::CommandNotFound => NOT_FOUND,
        ErrorKind::CommandNotExecutable => NOT_EXECUTABLE,
        ErrorKind::Timeout => TIMED_OUT,
        ErrorKind::Trapped => TRAPPED,
        ErrorKind::Unavailable
        | ErrorKind::NotSupported
        | ErrorKind::ControlRefused
        | ErrorKind::Boot
        | ErrorKind::WarmUp
        | ErrorKind::NoSuchSandbox
        | ErrorKind::NoSuchSnapshot
        | ErrorKind::NameTaken
        | ErrorKind::CommandRefused
        | ErrorKind::File
        | ErrorKind::SandboxGone
        | ErrorKind::ProtocolBroken
        | ErrorKind::Cleanup
        | ErrorKind::Host
        | ErrorKind::Internal => OURS,
    }
}

/// The exit code of a run that is over: the command's own wherever it ended by itself.
pub fn code_of_run(ending: &Ending, cause: CauseOfDeath) -> u8 {
    match (ending, cause) {
        (_, CauseOfDeath::Timeout) => TIMED_OUT,
        (Ending::Exited(exited), _) => exited.status.shell_code(),
        (Ending::Signalled(number), _) => code_of_signal(*number),
        (Ending::OutputFailed(why), _) => Failure::of_write("", why).code(),
        (Ending::SandboxEnded(_), CauseOfDeath::OutOfMemory) => BY_SIGNAL + SIGKILL,
        (Ending::SandboxEnded(_) | Ending::TimedOut, _) => OURS,
    }
}

/// The exit code of a program that was asked to end by this signal.
pub fn code_of_signal(number: u8) -> u8 {
    BY_SIGNAL.saturating_add(number)
}

/// A line on stderr, in the program's name. Nothing can be done if nobody reads it.
pub fn say(line: &str) {
    drop(writeln!(io::stderr().lock(), "agentkernel: {}", printable(line)));
}

/// What somebody who got what he asked for must know of it.
pub fn warn(warning: Option<&str>) {
    if let Some(warning) = warning {
        say(&format!("warning: {warning}"));
    }
}

/// An error on stderr: what, on what, why; the way out is last.
pub fn say_error(error: &Error) {
    say(&error.to_string());
    if let Some(hint) = &error.hint {
        say_hint(hint);
    }
}

/// What the parser of the command line has to say: help and version on stdout, wrong usage in the form
/// of every other error. Returns the exit code.
pub fn say_of_clap(said: &clap::Error, program: &clap::Command) -> u8 {
    if !said.use_stderr() {
        let printed = said.print().map_err(|why| Failure::of_write("stdout", &why));
        return printed.map_or_else(|failure| failure.report(), |()| 0);
    }
    if said.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        drop(said.print());
        return USAGE;
    }
    let text = said.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (text, hint) = match text.split_once("\n\nFor more information, try") {
        Some((text, _)) => (text, "--help says every word and its meaning".to_owned()),
        None => (text, String::new()),
    };
    let hint = nearest_subcommand(said, program).map_or(hint, |near| format!("did you mean '{near}'?"));
    let hint = if hint.is_empty() { hint } else { format!("hint: {hint}\n") };
    drop(write!(io::stderr().lock(), "agentkernel: {}\n{hint}", text.trim_end()));
    USAGE
}

/// The subcommand that was meant, where the parser did not find it out: it does not know of letters that have changed
/// places.
fn nearest_subcommand(said: &clap::Error, program: &clap::Command) -> Option<String> {
    let Some(ContextValue::String(typed)) = said.get(ContextKind::InvalidSubcommand) else { return None };
    if said.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    nearest(typed, program.get_subcommands().filter(|word| !word.is_hide_set()).map(clap::Command::get_name))
        .map(str::to_owned)
}

/// The way out, last.
pub fn say_hint(hint: &str) {
    drop(writeln!(io::stderr().lock(), "hint: {}", printable(hint)));
}

/// The text without what would steer a terminal: parts of messages come from files and from guests.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Makes every panic say that it is our fault, once, in the form of every other error.
pub fn announce_faults() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let why = text
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no reason given");
        let place = panic.location().map_or_else(String::new, |place| format!("{place}: "));
        say(&format!("this is a fault of agentkernel: {place}{why}"));
        say_hint("please report it with this line and the output of agentkernel doctor");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_the_exit_code_that_is_documented() {
        let code = |kind| Failure::from(Error::new(kind, "test", "a test")).code();
        assert_eq!(code(ErrorKind::Usage), 2);
        assert_eq!(code(ErrorKind::CommandNotFound), 127);
        assert_eq!(code(ErrorKind::CommandNotExecutable), 126);
        assert_eq!(code(ErrorKind::Timeout), 124);
        assert_eq!(code(ErrorKind::ControlRefused), 125);
        assert_eq!(code(ErrorKind::Cleanup), 125);
        assert_eq!(code(ErrorKind::Internal), 125);
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::of_write("stdout", &broken).code(), 141);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::of_write("stdout", &full).code(), 125);
    }

    #[test]
    fn what_is_said_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b]0;evil\x07b\nc ä"), "a\\u{1b}]0;evil\\u{7}b\\nc ä");
    }
}
