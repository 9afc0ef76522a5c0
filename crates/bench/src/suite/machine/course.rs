//! How a target does a benchmark: pure data, carried out by the machine.

use std::fmt::Debug;
use std::path::PathBuf;

use super::Site;
use super::bundles::Bundles;
use super::proving::Proving;
use crate::suite::Benchmark;

/// In words, stands for a name that no other sample has.
pub const NAME: &str = "@NAME@";

/// Who is measured.
pub trait Doer: Debug + Send + Sync {
    /// How it does this benchmark here, or why not.
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing>;

    /// How it is seen that it isolates, or why it is not looked at.
    fn proof(&self, site: &Site) -> Result<Proving, Missing>;

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
    /// Where a program does by orders what is measured, instead of the timed steps.
    pub talk: Option<Talk>,
    /// How many that wait are made, where their memory is measured.
    pub crowd: Option<Crowd>,
    /// A program that says the token once it has written to 64 MiB, and then stays: where memory is measured.
    pub hold: Option<Vec<String>>,
    /// Why there is no sample of one alone, where only many have a figure.
    pub alone: Option<String>,
}

/// A program that is started once for each that is taken at once, and does by orders what is measured: a line of JSON each
/// way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// The program and its words.
    pub words: Vec<String>,
    /// What it has in its environment besides.
    pub variables: Vec<(String, String)>,
    /// Its first order, if it has one.
    pub first: Option<String>,
    /// The order of each sample.
    pub each: String,
    /// What the work must say.
    pub says: String,
    /// Its own names of parts, and what they are called among a sample's.
    pub parts: Vec<(&'static str, &'static str)>,
    /// How many are started: as many as are taken at once.
    pub count: u32,
}

/// How sandboxes that wait are made and removed, each under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crowd {
    /// By a program that stays as long as its sandbox, and says the token.
    Staying(Vec<String>),
    /// By one program, and removed by another.
    Made(Step, Step),
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
    /// The flood of the run's seed, of which nothing is kept.
    Flood,
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
    /// The memory of all who are in the group of this process.
    MemoryOf(Whose),
}

/// A sandbox's process, in the JSON that the timed step tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// It is at this place.
    Pid(&'static str),
    /// Told by this engine, by its first words, of the container whose name is ours, before the name at this place.
    Container(Vec<String>, &'static str),
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

impl Course {
    /// What is timed, for a person.
    #[must_use]
    pub fn in_words(&self) -> String {
        let told = self.talk.iter().map(|talk| format!("{} told {}", talk.words.join(" "), talk.each));
        self.timed.iter().map(|step| step.words.join(" ")).chain(told).collect()
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
            other => other.clone(),
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
