//! The programs of the host that make interpreters, and what they are told of its environment.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::{Program, locate};

pub(crate) const WHAT: &str = "set up eval";

/// How long one of them may take: a download of some 30 MB, or a minute's compiling on a busy host.
const DEADLINE: Duration = Duration::from_secs(1800);

/// Where programs are looked for, and the variables that they get: where registries are and how they are reached.
#[derive(Debug, Clone, Copy)]
pub struct Tools<'a> {
    /// Folders, of which relative ones are passed over.
    pub search_path: &'a [PathBuf],
    /// All that they see of the environment.
    pub variables: &'a [(String, OsString)],
}

impl Tools<'_> {
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        locate(name, self.search_path)
    }

    /// The program, or what it is for and which package has it.
    pub(crate) fn need(&self, name: &str, what_for: &str, hint: &str) -> Result<PathBuf> {
        self.find(name).ok_or_else(|| self.missing(name, what_for, hint))
    }

    pub(crate) fn missing(&self, name: &str, what_for: &str, hint: &str) -> Error {
        Error::new(ErrorKind::Unavailable, WHAT, format!("it is not on PATH, and {what_for}"))
            .on(name)
            .hint(hint)
    }

    /// Runs one to its end.
    pub(crate) fn run(&self, program: &Path, words: &[&str]) -> Result<()> {
        let named = |why: &dyn Display| failed(why).on(program.display());
        let command = Program::new(program).map_err(|why| named(&why))?;
        let command = words.iter().copied().fold(command, Program::argument);
        command.output_with(self.variables, DEADLINE).map(drop).map_err(|why| named(&why))
    }
}

pub(crate) fn failed(why: impl Display) -> Error {
    Error::new(ErrorKind::Host, WHAT, why)
}
