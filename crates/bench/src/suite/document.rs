//! `results.json` of a run: everything that was measured, raw samples first of all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::benchmark::{Benchmark, Plan};
use super::machine::proving::Proven;
use super::record::Record;
use crate::environment::Environment;
use crate::refusal::host;
use crate::results;

/// What the file is.
pub const SCHEMA: &str = "agentkernel-bench/run";
/// Changes whenever a reader of the old one would misread the new one.
pub const SCHEMA_VERSION: u32 = 1;
/// The file's name in the folder of its run.
pub const FILE: &str = "results.json";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether every planned benchmark is in it.
    pub complete: bool,
    /// Why not, in words.
    pub failure: Option<String>,
    /// All that is known besides the samples.
    pub facts: Facts,
    /// The finished benchmarks.
    pub benchmarks: Vec<Record>,
    /// The one in which it ended early, as far as that was measured, its failures counted.
    #[serde(default)]
    pub unfinished: Option<Record>,
}

/// What the figures depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When it began.
    pub started_utc: String,
    /// Version of the program that is measured.
    pub version: String,
    /// The program's digest.
    pub program_sha256: String,
    /// How it was built: "debug" or "release".
    pub build: String,
    /// The plan.
    pub plan: Plan,
    /// The machine.
    pub environment: Environment,
    /// Its load before.
    pub load_before: String,
    /// The load when this was written.
    pub load_after: String,
    /// The words of each target's startup, and what it says of its version.
    pub targets: BTreeMap<String, String>,
    /// The most that a sample may take.
    pub deadline_ms: u64,
    /// What judging a result takes, p50: after the time, not in it.
    pub harness_ns: u64,
    /// What was found of each target's isolation before anything of it was timed.
    #[serde(default)]
    pub proven: BTreeMap<String, Proven>,
    /// How this machine has KVM, in doctor's words ("kvm-pvm" is emulated): figures of machines by it are marked so.
    #[serde(default)]
    pub kvm: Option<String>,
}

impl Document {
    /// Reads one: a file, or the folder of a run.
    ///
    /// # Errors
    /// It is not there, is no such file, or one of another version.
    pub fn load(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = fs::read_to_string(&file).map_err(|why| host("read the results", file.display(), why))?;
        Self::parse(&text).map_err(|why| {
            Error::new(ErrorKind::Usage, "read the results", why)
                .on(file.display())
                .hint("name a folder that agentkernel bench run has written")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
        let (schema, version) = (&value["schema"], &value["schema_version"]);
        if schema != SCHEMA {
            return Err(format!("its schema is {schema}, not \"{SCHEMA}\""));
        }
        if version != SCHEMA_VERSION {
            return Err(format!("its schema version is {version}, and {SCHEMA_VERSION} is understood"));
        }
        serde_json::from_value(value).map_err(|why| why.to_string())
    }

    /// Writes it into the folder of its run, whole or not at all.
    ///
    /// # Errors
    /// The folder's disk is full, for example.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let failed = |why: std::io::Error| host("save the results", folder.display(), why);
        let text = serde_json::to_string(self).map_err(|why| failed(why.into()))?;
        results::save(folder, FILE, &text).map_err(failed)
    }

    /// The record of a benchmark.
    #[must_use]
    pub fn record(&self, benchmark: Benchmark) -> Option<&Record> {
        self.benchmarks.iter().find(|record| record.benchmark == benchmark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_another_schema_or_version_are_refused() {
        let refused = |text: &str| Document::parse(text).expect_err("refused");
        let ours = format!("{{\"schema\":\"{SCHEMA}\",\"schema_version\":2}}");
        assert!(refused(&ours).contains("schema version is 2, and 1 is understood"));
        assert!(
            refused("{\"schema\":\"agentkernel-bench/sandbox\",\"schema_version\":1}").contains("schema is")
        );
        assert!(refused("no").contains("expected"));
    }
}
