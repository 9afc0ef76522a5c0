//! What all targets of a run have in common.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_process::{Program, locate};

use crate::sandbox::client::Client;
use crate::suite::Benchmark;
use crate::workload::Flood;

/// Names and values.
type Variables = Vec<(String, String)>;

/// The daemon's socket in its home.
const SOCKET: &str = "daemon.sock";

/// What is measured, and how it is started.
#[derive(Debug, Clone)]
pub struct Site {
    /// Our program.
    pub program: PathBuf,
    /// Where others' programs are looked for.
    pub folders: Vec<PathBuf>,
    /// All of each program's environment.
    pub variables: Vec<(String, String)>,
    /// The most that a sample may take.
    pub deadline: Duration,
    /// Of every random decision, and of the data.
    pub seed: u64,
    /// Said by each command, and known to nobody before.
    pub token: String,
    /// The image that container engines are told to use.
    pub image: String,
    /// The most that are taken at once: a pool has as many.
    pub at_once_max: u32,
    /// Bytes of the file that is copied.
    pub copied_bytes: usize,
    /// Files in the folder that is copied.
    pub copied_files: u64,
    /// A folder of the run's own.
    pub work: PathBuf,
    /// The home of the run's own daemon, if it needs one.
    pub home: PathBuf,
    /// The user's folder with what machines are made of, which the run's own daemon takes as its own.
    pub machines: Option<PathBuf>,
    /// What AGENTKERNEL_URL is for a daemon that was named.
    pub daemon: Option<String>,
    /// E2B_API_KEY, for E2B's own client alone.
    pub e2b_api_key: Option<String>,
}

impl Site {
    /// Where a program of the host is, or that it is not there.
    ///
    /// # Errors
    /// It is not installed.
    pub fn host_program(&self, name: &str) -> Result<String, String> {
        let found = locate(name, &self.folders).ok_or_else(|| format!("{name} is not installed"))?;
        Ok(found.display().to_string())
    }

    /// The first words to a container engine. Podman's own program looks where it is told to by `CONTAINER_HOST` only if it is
    /// remote.
    ///
    /// # Errors
    /// It is not installed.
    pub fn engine(&self, name: &str) -> Result<Vec<String>, String> {
        let program = self.host_program(name)?;
        let is_told = self.variables.iter().any(|(variable, _)| variable == "CONTAINER_HOST");
        let remote = (name == "podman" && is_told).then(|| "--remote".to_owned());
        Ok(std::iter::once(program).chain(remote).collect())
    }

    /// How many a pool holds: as many as are taken at once, and as many again while those are.
    #[must_use]
    pub fn pool_size(&self, benchmark: Benchmark) -> String {
        let low = self.warm(benchmark);
        format!("{low}..{}", 2 * low)
    }

    /// How many are warm before a batch.
    #[must_use]
    pub fn warm(&self, benchmark: Benchmark) -> u32 {
        if benchmark.is_rush() { self.at_once_max } else { 1 }
    }

    /// Starts a program by its words; its input has ended. The daemon is told of only where it is asked for.
    pub(crate) fn start(&self, words: &[String], by_daemon: bool, is_flood: bool) -> io::Result<Client> {
        let flood = is_flood.then_some(Flood { seed: self.seed });
        let mut client = self.begin(words, &self.variables_for(words, by_daemon), flood)?;
        client.close_input();
        Ok(client)
    }

    /// Likewise, its input open.
    pub(crate) fn start_open(&self, words: &[String], by_daemon: bool) -> io::Result<Client> {
        self.begin(words, &self.variables_for(words, by_daemon), None)
    }

    /// Likewise, with these variables besides.
    pub(crate) fn start_talking(&self, words: &[String], more: &[(String, String)]) -> io::Result<Client> {
        self.begin(words, &self.variables.iter().chain(more).cloned().collect(), None)
    }

    fn begin(&self, words: &[String], variables: &Variables, flood: Option<Flood>) -> io::Result<Client> {
        let (first, rest) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
        let program =
            rest.iter().map(String::as_str).fold(Program::new(Path::new(first))?, Program::argument);
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match flood {
            Some(flood) => Client::start_flood(&program, &variables, flood),
            None => Client::start_with(&program, &variables),
        }
    }

    fn variables_for(&self, words: &[String], by_daemon: bool) -> Variables {
        let mut variables = self.variables.clone();
        let home = self.home.display().to_string();
        // These two are about a daemon of this very home: what it keeps there of its sandboxes' processes is told only then.
        let is_at_home = words.get(1).is_some_and(|word| matches!(word.as_str(), "serve" | "inspect"));
        if by_daemon && !is_at_home {
            let url = self.daemon.clone().unwrap_or_else(|| format!("unix://{home}/{SOCKET}"));
            variables.push(("AGENTKERNEL_URL".into(), url));
        }
        if by_daemon && self.daemon.is_none() {
            // The later of two of the same name is the one that counts.
            variables.push(("AGENTKERNEL_HOME".into(), home));
        }
        variables
    }
}
