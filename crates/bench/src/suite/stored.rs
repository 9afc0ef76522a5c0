//! Runs that were kept in one folder: the newest first, and of each figure the newest one.

use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};

use super::benchmark::Benchmark;
use super::document::{Document, FILE, Facts};
use super::record::Row;
use crate::environment::Environment;
use crate::refusal::host;

/// Runs of one machine by one kind of build.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The newest first.
    runs: Vec<Document>,
    /// How many runs of others, or of another build, are there besides.
    pub others: usize,
}

/// Which of a target's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// One at a time.
    One,
    /// As many at once as were measured at the most.
    Most,
}

/// Folders in this one that hold runs of ours, the newest first: their names sort by time.
fn folders(parent: &Path) -> Result<Vec<(PathBuf, Document)>> {
    let failed = |why: std::io::Error| host("look for results", parent.display(), why);
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(parent).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let runs = folders.into_iter().rev().filter(|folder| folder.join(FILE).is_file());
    // Another harness's results, or another version's, may be there as well.
    Ok(runs.filter_map(|folder| Document::load(&folder).ok().map(|run| (folder, run))).collect())
}

fn none(parent: &Path) -> Error {
    Error::new(ErrorKind::Usage, "look for results", "no run of agentkernel bench is in this folder")
        .on(parent.display())
        .hint("measure first: agentkernel bench run startup phases, or name the folder of a run")
}

/// The run that is meant: this one, or the newest in this folder; and how many were there to choose from.
///
/// # Errors
/// There is none, or it cannot be understood.
pub fn newest(path: &Path) -> Result<(PathBuf, Document, usize)> {
    if !path.is_dir() || path.join(FILE).exists() {
        return Ok((path.to_owned(), Document::load(path)?, 1));
    }
    let runs = folders(path)?;
    let count = runs.len();
    runs.into_iter().next().map(|(folder, run)| (folder, run, count)).ok_or_else(|| none(path))
}

/// What must be the same for two runs' figures to stand in one table.
fn machine(facts: &Facts) -> (&str, usize, &str, &str, &str) {
    let environment = &facts.environment;
    (&environment.cpu, environment.cores, &environment.kernel, &environment.virtualisation, &facts.build)
}

impl Stored {
    /// All runs in a folder that were taken on the newest one's machine.
    ///
    /// # Errors
    /// There is none.
    pub fn load(parent: &Path) -> Result<Self> {
        let runs: Vec<Document> = folders(parent)?.into_iter().map(|(_, run)| run).collect();
        let newest = runs.first().map(|run| run.facts.clone()).ok_or_else(|| none(parent))?;
        let all = runs.len();
        let runs: Vec<Document> =
            runs.into_iter().filter(|run| machine(&run.facts) == machine(&newest)).collect();
        Ok(Self { others: all - runs.len(), runs })
    }

    /// The newest run.
    #[must_use]
    pub fn newest(&self) -> Option<&Document> {
        self.runs.first()
    }

    /// Whether they were taken on this machine.
    #[must_use]
    pub fn is_of(&self, here: &Environment) -> bool {
        let same = |there: &Environment| {
            (&there.cpu, there.cores, &there.kernel) == (&here.cpu, here.cores, &here.kernel)
        };
        self.newest().is_some_and(|run| same(&run.facts.environment))
    }

    /// Every run.
    #[must_use]
    pub fn runs(&self) -> &[Document] {
        &self.runs
    }

    /// The newest row of a target that says something, and the run that it is from.
    #[must_use]
    pub fn row(&self, benchmark: Benchmark, target: &str, level: Level) -> Option<(&Row, &Document)> {
        let rows = self.runs.iter().filter_map(|run| Some((run.record(benchmark)?, run)));
        let of_run = rows.filter_map(|(record, run)| {
            let rows = record.rows.iter().filter(|row| row.target == target);
            let row = match level {
                Level::One => rows.min_by_key(|row| row.at_once),
                Level::Most => rows.max_by_key(|row| row.at_once),
            };
            row.map(|row| (row, run))
        });
        let all: Vec<(&Row, &Document)> = of_run.collect();
        let measured = all.iter().find(|(row, _)| !row.samples.is_empty());
        measured.or(all.first()).copied()
    }

    /// Every target of a benchmark, as the newest runs have them.
    #[must_use]
    pub fn targets(&self, benchmark: Benchmark) -> Vec<&str> {
        let mut targets: Vec<&str> = Vec::new();
        let rows = self.runs.iter().filter_map(|run| run.record(benchmark)).flat_map(|record| &record.rows);
        for row in rows {
            if !targets.contains(&row.target.as_str()) {
                targets.push(&row.target);
            }
        }
        targets
    }
}
