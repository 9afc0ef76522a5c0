//! What the suite found, rule by rule.

use std::fmt;
use std::time::Duration;

use agentkernel_core::BackendKind;

use super::Rule;

/// The outcome of one run.
#[derive(Debug)]
pub struct Report {
    /// Which backend was held to the rules.
    pub backend: BackendKind,
    /// Every rule that was selected, in order.
    pub outcomes: Vec<Outcome>,
}

/// What became of one rule.
#[derive(Debug)]
pub struct Outcome {
    /// The rule.
    pub rule: &'static Rule,
    /// Whether it holds.
    pub verdict: Verdict,
    /// How long that took to find out.
    pub time: Duration,
}

/// Whether a rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Held,
    /// It does not, for this reason.
    Broken(String),
    /// It says nothing about this backend, for this reason.
    NotApplicable(String),
}

impl Report {
    /// The rules that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Broken(_)))
    }

    /// The rules that hold.
    pub fn held(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Held)
    }

    /// # Panics
    /// If a rule is broken, or if none was found to hold: a suite that checks nothing proves nothing.
    pub fn assert_all_held(&self) {
        assert!(self.broken().next().is_none(), "{self}");
        assert!(self.held().next().is_some(), "no rule was held to\n{self}");
    }

    /// The same for a backend that is known to break these rules: exactly these.
    ///
    /// # Panics
    /// If another rule is broken, or one of these holds by now.
    pub fn assert_held_but(&self, known: &[&str]) {
        let broken: Vec<_> = self.broken().map(|outcome| outcome.rule.name).collect();
        assert_eq!(broken, known, "{self}");
        assert!(self.held().next().is_some(), "no rule was held to\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            let (name, ms) = (outcome.rule.name, outcome.time.as_millis());
            match &outcome.verdict {
                Verdict::Held => writeln!(out, "held    {name} ({ms} ms)")?,
                Verdict::NotApplicable(why) => writeln!(out, "n/a     {name}: {why}")?,
                Verdict::Broken(why) => {
                    let proves = outcome.rule.proves;
                    writeln!(out, "BROKEN  {name} ({ms} ms)\n        rule: {proves}\n        found: {why}")?;
                }
            }
        }
        let (broken, held) = (self.broken().count(), self.held().count());
        let others = self.outcomes.len() - broken - held;
        write!(out, "{}: {held} rules held, {broken} broken, {others} not applicable", self.backend)
    }
}
