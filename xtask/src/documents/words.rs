//! The names that documents cite: tests, rules of the conformance suite, controls of the posture.

use std::collections::BTreeSet;
use std::path::Path;

use crate::workspace::{Workspace, WorkspaceError};

/// Where rules are named.
const RULES: &str = "crates/testkit/src/conformance";

/// Where controls are named: each with what takes it away.
const CONTROLS: &[&str] = &[
    "crates/agentkernel/tests/boundary/posture/table.rs",
    "crates/agentkernel/tests/boundary/posture/gvisor.rs",
];

/// A name of a test has at least so many words.
const SENTENCE_WORDS_MIN: usize = 4;

/// All names of rules and controls.
pub struct Words {
    rules: BTreeSet<String>,
    controls: BTreeSet<String>,
}

impl Words {
    /// Reads them from the code below `root`.
    pub fn gather(root: &Path) -> Result<Self, WorkspaceError> {
        let mut rules = BTreeSet::new();
        for file in Workspace::rust_files(&root.join(RULES))? {
            rules.extend(names(&Workspace::read(&file)?));
        }
        let mut controls = BTreeSet::new();
        for file in CONTROLS {
            controls.extend(names(&Workspace::read(&root.join(file))?));
        }
        Ok(Self { rules, controls })
    }

    /// Whether this is one of them, or stands for some: `limits.*`.
    pub fn has(&self, word: &str) -> bool {
        self.all().any(|known| stands_for(word, known))
    }

    /// Whether this is of a family of them, and none of them.
    pub fn lacks(&self, word: &str) -> bool {
        let family = family(word);
        is_name(word.trim_end_matches('*'))
            && self.all().any(|known| self::family(known) == family)
            && !self.has(word)
    }

    /// The controls that none of these words stands for.
    pub fn controls_beside<'a>(&self, words: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &str> {
        let words: Vec<&str> = words.collect();
        let is_said = move |control: &str| words.iter().any(|word| stands_for(word, control));
        self.controls.iter().map(String::as_str).filter(move |control| !is_said(control))
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().chain(&self.controls).map(String::as_str)
    }
}

/// Whether it is the name of a test: a sentence, its words joined.
pub fn is_sentence(span: &str) -> bool {
    let is_joined = span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_joined && span.split('_').filter(|word| !word.is_empty()).count() >= SENTENCE_WORDS_MIN
}

/// What is missing of a proof in the text of a file: a test that runs, or the list of that name.
pub fn unproven(text: &str, name: &str) -> Option<String> {
    if name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
        return (!text.contains(&format!("const {name}:"))).then(|| format!("there is a list {name} in"));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").is_some_and(|line| line.starts_with(&format!("{name}(")))
    };
    let Some(at) = lines.iter().position(begins) else {
        return Some(format!("there is a test {name} in"));
    };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let (mut is_test, mut is_left_out) = (false, false);
    for line in above {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        is_left_out |= line.starts_with("#[ignore");
    }
    (!is_test || is_left_out).then(|| format!("{name} is a test that always runs in"))
}

/// The literals of a text that can name a rule or a control.
fn names(text: &str) -> impl Iterator<Item = String> + '_ {
    let literals = text.split('"').skip(1).step_by(2);
    literals.filter(|literal| is_name(literal)).map(str::to_owned)
}

/// `family.name`, and `mount./dev/shm`.
fn is_name(literal: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '/';
    literal.split_once('.').is_some_and(|(family, name)| {
        !family.is_empty()
            && family.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(is_plain)
    })
}

fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn stands_for(word: &str, name: &str) -> bool {
    word == name
        || word.strip_suffix('*').is_some_and(|begin| begin.ends_with('.') && name.starts_with(begin))
}
