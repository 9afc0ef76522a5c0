//! A container engine of this host, spoken to by its own client.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::{Attended, Program};

/// Variables that a client is given, where they are set: where its engine is, and how it reaches registries.
pub const VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "DOCKER_DEFAULT_PLATFORM",
    "CONTAINER_HOST",
    "CONTAINER_CONNECTION",
    "CONTAINER_SSHKEY",
    "CONTAINERS_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "CONTAINERS_STORAGE_CONF",
    "REGISTRY_AUTH_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Who is looked for, and what each is asked, which only an engine behind the client can answer.
const CANDIDATES: &[(&str, &[&str])] = &[
    ("docker", &["version", "--format", "{{.Server.Version}}"]),
    ("podman", &["info", "--format", "{{.Version.Version}}"]),
];

/// How long an engine may take for an answer.
pub const ANSWER: Duration = Duration::from_secs(60);

/// Most that is taken of an answer, bytes: of a pull it has some lines for each layer.
const ANSWER_MAX: u64 = 1 << 20;

/// Most of an engine's words that a message repeats, in characters.
const SAID_MAX: usize = 400;

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    name: &'static str,
    program: PathBuf,
    version: String,
    variables: Vec<(String, String)>,
}

impl fmt::Display for Engine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.name, self.version)
    }
}

impl Engine {
    /// The first engine in these folders that answers; Docker alone, where it is installed and a variable says which Docker
    /// it is to be.
    ///
    /// # Errors
    /// None does, and why each does not.
    pub fn find(folders: &[PathBuf], variables: &[(String, String)]) -> Result<Self> {
        let mut reasons = Vec::new();
        let is_named =
            |(name, _): &(String, String)| ["DOCKER_HOST", "DOCKER_CONTEXT"].contains(&name.as_str());
        let names_docker =
            variables.iter().any(is_named) && agentkernel_process::locate(CANDIDATES[0].0, folders).is_some();
        let candidates = if names_docker { &CANDIDATES[..1] } else { CANDIDATES };
        for (name, question) in candidates {
            match Self::meet(name, question, folders, variables) {
                Ok(engine) => return Ok(engine),
                Err(why) => reasons.push(format!("{name}: {why}")),
            }
        }
        let error = Error::new(ErrorKind::Unavailable, "find a container engine", reasons.join("; "));
        Err(error.hint(
            "apt-get install docker.io and start it (or name one by DOCKER_HOST), or name a root folder by BENCH_ROOTFS",
        ))
    }

    fn meet(
        name: &'static str,
        question: &[&str],
        folders: &[PathBuf],
        variables: &[(String, String)],
    ) -> io::Result<Self> {
        let program = agentkernel_process::locate(name, folders);
        let program = program.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not on PATH"))?;
        let mut engine = Self { name, program, version: String::new(), variables: variables.to_vec() };
        let version = engine.ask(question, ANSWER)?;
        version.trim().clone_into(&mut engine.version);
        Ok(engine)
    }

    /// The client's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Asks it this, and gives the answer. That it fails is an error with the engine's own words.
    pub fn ask(&self, words: &[&str], deadline: Duration) -> io::Result<String> {
        let finished = self.told(words)?.finish(&self.variables(), deadline, ANSWER_MAX);
        let finished = finished.map_err(|why| match why.kind() {
            io::ErrorKind::TimedOut => late(deadline),
            _ => why,
        })?;
        if !finished.status.success() {
            return Err(io::Error::other(format!("{}: {}", finished.status, ending(&finished.stderr))));
        }
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    }

    /// Lets it begin to do this.
    pub fn begin(&self, words: &[&str]) -> io::Result<Attended> {
        self.told(words)?.spawn_attended(&self.variables())
    }

    fn told(&self, words: &[&str]) -> io::Result<Program> {
        Ok(words.iter().copied().fold(Program::new(Path::new(&self.program))?, Program::argument))
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// One that nobody asks anything.
    #[cfg(test)]
    pub fn fake() -> Self {
        let program = "/nonexistent/docker".into();
        Self { name: "docker", program, version: "1".into(), variables: Vec::new() }
    }
}

/// That the engine did not come to an end in time.
pub fn late(deadline: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {} s", deadline.as_secs()))
}

/// The end of what an engine said, on one line: what it did comes first, and why it failed last.
pub fn ending(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = line.chars().count().saturating_sub(SAID_MAX);
    line.chars().skip(skipped).collect()
}
