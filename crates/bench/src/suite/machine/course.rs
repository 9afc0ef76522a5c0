//! How a target does a benchmark: pure data, carried out by the machine.

use std::fmt::Debug;
use std::path::PathBuf;

use super::Site;
use super::bundles::Bundles;
use crate::suite::Benchmark;

/// In words, stands for a name that no other sample has.
pub const NAME: &str = "@NAME@";

/// Who is measured.
pub trait Doer: Debug + Send + Sync {
    /// How it does this benchmark here, or why not.
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing>;

    /// Whether what it cannot do is a reason, and no failure: others' tools may be installed and not work.
    fn is_others(&self) -> bool;
}

/// Why a target is not measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It cannot run here: a row that says why.
    Absent(String),
    /// It would be no other than another target: no row.
    Elsewhere,
}

impl<T: Into<String>> From<T> for Missing {
    fn from(why: T) -> Self {
        Self::Absent(why.into())
    }
}

/// All that is done.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// Once, before all samples.
    pub before: Vec<Setup>,
    /// For each sample: these and nothing else are timed.
    pub timed: Vec<Step>,
    /// After each sample.
    pub between: Vec<Step>,
    /// After a sample that failed.
    pub rescue: Vec<Step>,
    /// Once, after all samples, also where something has failed: and so these may fail.
    pub after: Vec<Step>,
    /// What the sample is.
    pub figure: Figure,
    /// Whether a daemon has to be there.
    pub by_daemon: bool,
    /// The backend whose pool is to be full before each sample.
    pub pool: Option<String>,
    /// Files that a sample brings, and what each must be like.
    pub brings: Vec<Brought>,
    /// Where a sample needs a bundle of its own.
    pub bundles: Option<Bundles>,
}

/// One program from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name among a sample's parts.
    pub part: &'static str,
    /// The program and its words.
    pub words: Vec<String>,
    /// What it must say.
    pub says: Says,
}

/// What a program must say; it must end well in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// This line and no other.
    Line(String),
    /// Whatever it is.
    Anything,
}

/// Something that is done before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// A program from its start to its end.
    Run(Step),
    /// A program that says the token, and then stays until its input ends.
    Stay(Vec<String>),
}

/// What a sample is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Figure {
    /// The time of the timed steps.
    #[default]
    Wall,
    /// That, with the phases that our program tells.
    Phases,
    /// What the work says of its time.
    Inside,
    /// The memory of those who stay.
    MemoryOfThose,
    /// The memory of all who are in the group of this process, which the timed step tells as JSON at this place.
    MemoryOf(&'static str),
}

/// A file or folder that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Where it comes to.
    pub to: PathBuf,
    /// What it is to be like.
    pub like: PathBuf,
}

impl Course {
    /// One command that says the token.
    #[must_use]
    pub fn one(words: Vec<String>, site: &Site) -> Self {
        Self { timed: vec![Step::saying("exec", words, &site.token)], ..Self::default() }
    }

    /// Work that tells its own time, and its result.
    #[must_use]
    pub fn inside(words: Vec<String>, says: &str) -> Self {
        Self { timed: vec![Step::saying("work", words, says)], figure: Figure::Inside, ..Self::default() }
    }
}

impl Step {
    /// One that must say exactly this.
    #[must_use]
    pub fn saying(part: &'static str, words: Vec<String>, line: &str) -> Self {
        Self { part, words, says: Says::Line(line.to_owned()) }
    }

    /// One whose words are not looked at.
    #[must_use]
    pub fn quiet(part: &'static str, words: Vec<String>) -> Self {
        Self { part, words, says: Says::Anything }
    }

    /// With the sample's own name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        let says = match &self.says {
            Says::Line(line) => Says::Line(line.replace(NAME, name)),
            Says::Anything => Says::Anything,
        };
        let words = self.words.iter().map(|word| word.replace(NAME, name)).collect();
        Self { words, says, part: self.part }
    }
}

/// The words of a command line.
#[must_use]
pub fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
