//! The `container` program, run: each way has a deadline, and what it prints is bounded.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use agentkernel_core::{BackendKind, Error, ErrorKind};
use agentkernel_process::{Attended, Program};
use serde_json::Value;

use super::argv::{self, Argv, ContainerName};

/// How long it may take for what it does at once.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// How long it may take to boot a machine or to take one down: on a busy host, seconds.
pub(super) const SLOW_DEADLINE: Duration = Duration::from_secs(60);

/// How long it may take to make a container: the first of an image unpacks that.
pub(super) const CREATE_DEADLINE: Duration = Duration::from_secs(300);

/// Most that is taken of what it prints, bytes. A list of a thousand containers has some four million.
const OUTPUT_MAX: u64 = 16 << 20;

/// Most of its words that are passed on.
const WORDS_MAX: usize = 1000;

/// Why it came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It did not end in time, or cannot be run.
    NoAnswer(String),
    /// It said no, in these words.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoAnswer(why) | Self::Refused(why)) = self;
        out.write_str(why)
    }
}

impl Trouble {
    /// Whether it does not know what it was asked about.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(why) if why.to_lowercase().contains("not found"))
    }

    /// As an error of what was being done.
    pub(super) fn error(self, what: &'static str) -> Error {
        let why = self.to_string();
        // Which of its own programs it did not reach, is the same to us.
        let are_its_services = why.contains("XPC connection error") || why.contains("container system start");
        let error = Error::new(ErrorKind::Boot, what, why).on(BackendKind::Apple);
        if are_its_services { error.hint(START_SERVICES) } else { error }
    }
}

/// What starts the services behind the program.
pub(super) const START_SERVICES: &str = "container system start";

/// The program, and what it is told.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    /// No deadline is longer than this, for a test that waits for them.
    patience: Duration,
}

impl Cli {
    pub(super) fn new(program: PathBuf, variables: Vec<(&'static str, String)>, patience: Duration) -> Self {
        Self { program, variables, patience }
    }

    /// A deadline, unless patience ends before.
    pub(super) fn at_most(&self, deadline: Duration) -> Duration {
        deadline.min(self.patience)
    }

    pub(super) fn program(&self) -> &PathBuf {
        &self.program
    }

    fn program_with(&self, argv: &Argv) -> io::Result<Program> {
        let program = Program::new(&self.program)?;
        Ok(argv.words().iter().fold(program, |program, word| program.argument(word)))
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Runs it to its end, and gives what it printed. Blocks the thread.
    pub(super) fn ask_now(&self, argv: &Argv, deadline: Duration) -> Result<Vec<u8>, Trouble> {
        let deadline = self.at_most(deadline);
        let finished = self
            .program_with(argv)
            .and_then(|program| program.finish(&self.variables(), deadline, OUTPUT_MAX))
            .map_err(|why| {
                Trouble::NoAnswer(match why.kind() {
                    io::ErrorKind::TimedOut => {
                        format!("'{argv}' did not end within {} s", deadline.as_secs())
                    }
                    _ => format!("'{argv}': {why}"),
                })
            })?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        // Some of what it refuses, it tells on its standard output.
        let said = [finished.stderr, finished.stdout].into_iter().map(|text| plain(&text));
        let said = said.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        Err(Trouble::Refused(if said.is_empty() { finished.status.to_string() } else { said }))
    }

    /// The same, while others go on.
    pub(super) async fn ask(&self, argv: Argv, deadline: Duration) -> Result<Vec<u8>, Trouble> {
        let cli = self.clone();
        let asked = tokio::task::spawn_blocking(move || cli.ask_now(&argv, deadline)).await;
        asked.map_err(|why| Trouble::NoAnswer(why.to_string()))?
    }

    /// What it prints as JSON.
    pub(super) async fn ask_json(&self, argv: Argv, deadline: Duration) -> Result<Value, Trouble> {
        let shown = argv.to_string();
        let printed = self.ask(argv, deadline).await?;
        let no_json = |why| Trouble::Refused(format!("what '{shown}' prints is not JSON: {why}"));
        serde_json::from_slice(&printed).map_err(no_json)
    }

    /// What it says of a container, if it knows it.
    pub(super) async fn inspect(&self, name: &ContainerName) -> Result<Option<Value>, Trouble> {
        // Before 1.0 it said of one that is not there that there is none; since then it refuses.
        match self.ask_json(argv::inspect(name), ANSWER_DEADLINE).await {
            Ok(found) => Ok(found.as_array().and_then(|list| list.first()).cloned()),
            Err(why) if why.is_not_found() => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Runs it with its streams in our hands.
    pub(super) fn attend(&self, argv: &Argv) -> io::Result<Attended> {
        self.program_with(argv)?.spawn_attended(&self.variables())
    }
}

/// Its words in one line, without what would colour a terminal.
fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_do_not_run_have_their_way_out() {
        let refused = |why: &str| Trouble::Refused(why.to_owned());
        let error = refused("interrupted: \"XPC connection error: Connection invalid\"").error("start it");
        assert_eq!(error.hint.as_deref(), Some("container system start"));
        assert_eq!(refused("no room").error("start it").hint, None);
        assert!(refused("notFound: \"container not found: x\"").is_not_found());
        assert!(refused("InspectError(... Image not found)").is_not_found());
        assert!(!Trouble::NoAnswer("not found".into()).is_not_found());
    }

    #[test]
    fn words_are_one_line_without_controls() {
        assert_eq!(plain(b"Error:\n  \x1b[31mno\x07 room\x1b[0m \xff"), "Error: [31mno room[0m \u{fffd}");
        assert_eq!(plain(&[b'x'; 5000]).len(), WORDS_MAX);
    }
}
