//! A runtime that is measured, and the words in which it is told what to do.

use std::path::{Path, PathBuf};

use agentkernel_core::{Availability, Error, ErrorKind, Result};
use agentkernel_oci::engine::{self, Engine, Runtime};
use agentkernel_process::Program;
use serde::Serialize;

use crate::refusal::host;
use crate::text;

/// All of a runtime's environment.
pub const ENVIRONMENT: &[(&str, &str)] =
    &[("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")];

/// Who is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// For a person, and in the files.
    pub name: String,
    /// Its program.
    pub program: PathBuf,
    /// What the program says of its version.
    pub version: String,
    /// The program's digest.
    pub sha256: String,
    /// What it is told besides the order itself.
    pub flags: Vec<String>,
    /// Whether it has a kernel of its own, which the proof demands then.
    pub has_own_kernel: bool,
}

/// Finds a runtime in these folders.
pub fn find(engine: Engine, folders: &[PathBuf]) -> Result<(Target, Runtime)> {
    let runtime = engine::find(engine, folders).map_err(|availability| missing(engine, availability))?;
    let sha256 = text::sha256_of_file(&runtime.path)
        .map_err(|why| host("read the runtime", runtime.path.display(), why))?;
    let target = Target {
        name: if engine == Engine::Gvisor { "gVisor" } else { engine.program() }.to_owned(),
        program: runtime.path.clone(),
        version: runtime.version.clone(),
        sha256,
        flags: flags(&runtime),
        has_own_kernel: engine == Engine::Gvisor,
    };
    Ok((target, runtime))
}

fn missing(engine: Engine, availability: Availability) -> Error {
    let (needs, hint) = match availability {
        Availability::Unavailable { needs, hint } => (needs, hint),
        Availability::Available { .. } | Availability::Limited { .. } => (String::new(), String::new()),
    };
    Error::new(ErrorKind::Unavailable, "find the runtime", format!("it needs {needs}"))
        .on(engine.program())
        .hint(format!("{hint}, or scripts/setup --bench for all that is measured"))
}

/// As strict as our own sandboxes have it.
fn flags(runtime: &Runtime) -> Vec<String> {
    let mut flags = runtime.flags.clone();
    if runtime.engine == Engine::Gvisor {
        flags.extend(["--network=none", "--oci-seccomp"].map(str::to_owned));
        flags.extend(runtime.platform.iter().map(|platform| format!("--platform={platform}")));
    }
    flags
}

impl Target {
    /// The order to make the container `id` of a bundle, to run it to its end, and to remove it.
    pub fn run(&self, state: &Path, bundle: &Path, id: &str) -> std::io::Result<Program> {
        let bundle = bundle.display().to_string();
        self.told(state, &["run", "--bundle", &bundle, id])
    }

    /// The order to remove whatever there is of the container.
    pub fn delete(&self, state: &Path, id: &str) -> std::io::Result<Program> {
        self.told(state, &["delete", "--force", id])
    }

    fn told(&self, state: &Path, words: &[&str]) -> std::io::Result<Program> {
        let state = state.display().to_string();
        let program = ["--root", &state].into_iter().fold(Program::new(&self.program)?, Program::argument);
        let program = self.flags.iter().map(String::as_str).fold(program, Program::argument);
        Ok(words.iter().copied().fold(program, Program::argument))
    }
}
