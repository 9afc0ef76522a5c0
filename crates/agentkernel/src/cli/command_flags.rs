//! What a command is to be: the flags that `run` and `exec` have in common.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Command, Result, Stdin};

use super::flags::usage;
use crate::{environment, terminal};

/// What a command is to be.
#[derive(Debug, Default, clap::Args)]
pub struct CommandFlags {
    /// Set a variable; with its name alone, to the value that it has here. May be repeated
    #[arg(short = 'e', long = "env", value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,

    /// Start in this folder of the sandbox [default: /workspace]
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// Pass our standard input on to the command; else it has none
    #[arg(short = 'i', long)]
    pub interactive: bool,

    /// Give the command a terminal; our standard input must be one
    #[arg(short = 't', long)]
    pub tty: bool,
}

impl CommandFlags {
    /// Of a command of which nothing else was said.
    pub fn of_stdin(interactive: bool) -> Self {
        Self { interactive, ..Self::default() }
    }

    /// That a terminal is there, if one is wanted.
    pub fn check_terminal(&self) -> Result<()> {
        if self.tty && !terminal::is_stdin() {
            let error = usage("-t", "standard input is not a terminal");
            return Err(error.hint("leave -t out; -i alone passes a pipe or a file on"));
        }
        Ok(())
    }

    /// The command of these words.
    pub fn command(&self, words: &[OsString], timeout: Option<Duration>) -> Result<Command> {
        let mut command = Command::new(words.iter().map(|word| word.as_bytes().to_vec()));
        if command.argv.first().is_none_or(Vec::is_empty) {
            return Err(usage("CMD", "the command's name is empty"));
        }
        if self.tty {
            command.terminal = Some(terminal::size());
            command.env.extend(inherited(OsStr::new("TERM")));
        }
        command.env.extend(variables(&self.env)?);
        command.cwd = self.workdir.as_deref().map(workdir).transpose()?;
        command.stdin = if self.interactive { Stdin::Pipe } else { Stdin::Null };
        command.timeout = timeout;
        Ok(command)
    }
}

fn workdir(path: &Path) -> Result<Vec<u8>> {
    if path.is_absolute() {
        return Ok(PathBuf::from(path).into_os_string().into_vec());
    }
    Err(usage(format!("-w {}", path.display()), "it is not an absolute path in the sandbox")
        .hint("write for example -w /workspace/src"))
}

/// A variable: its name and its value.
pub type Variable = (Vec<u8>, Vec<u8>);

/// Reads `KEY=VALUE` and `KEY`, as often as they were typed.
pub fn variables(texts: &[OsString]) -> Result<Vec<Variable>> {
    let read: Result<Vec<_>> = texts.iter().map(variable).collect();
    Ok(read?.into_iter().flatten().collect())
}

/// Reads `KEY=VALUE`; for `KEY`, the caller's value, and nothing if he has none.
fn variable(text: &OsString) -> Result<Option<Variable>> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(0) => Err(usage(format!("-e {}", text.display()), "the variable has no name")),
        None if bytes.is_empty() => Err(usage("-e ''", "the variable has no name")),
        Some(at) => Ok(Some((bytes[..at].to_vec(), bytes[at + 1..].to_vec()))),
        None => Ok(inherited(text)),
    }
}

fn inherited(name: &OsStr) -> Option<Variable> {
    environment::variable(name).map(|value| (name.as_bytes().to_vec(), value.into_vec()))
}
