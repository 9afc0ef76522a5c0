//! The proof that the suite can see: every fault must be noticed by the rule that is named for it.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use agentkernel_core::Backend;

use super::{SuiteOptions, Verdict, rules, run};
use crate::{EXPECTATIONS, Expectation, FaultyBackend};

/// How a rule is broken that waits for something that does not come.
const ENDLESS: &str = "did not end";

/// How long such a rule may wait here.
const DEADLINE: Duration = Duration::from_millis(700);

/// How long it may wait if it waits for a timeout first.
const DEADLINE_OF_TIME: Duration = Duration::from_secs(2);

/// How long to look for what was left, where something is left for certain.
const SETTLE: Duration = Duration::from_millis(200);

/// Which faults were noticed.
#[derive(Debug, Default)]
pub struct Proof {
    /// Faults that were noticed in the words expected.
    pub noticed: usize,
    /// Faults that were not, and what was found instead.
    pub unnoticed: Vec<String>,
}

impl Proof {
    /// # Panics
    /// If a fault was not noticed, or if there was none.
    pub fn assert_all_noticed(&self) {
        assert!(self.unnoticed.is_empty() && self.noticed > 0, "{self}");
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} faults noticed, {} not", self.noticed, self.unnoticed.len())?;
        self.unnoticed.iter().try_for_each(|line| write!(out, "\n  {line}"))
    }
}

/// Gives a backend that keeps its rules one fault after the other. Only faults whose rule applies to the
/// backend are tried.
pub async fn prove(backend: &Arc<dyn Backend>, options: &SuiteOptions) -> Proof {
    let mut proof = Proof::default();
    for expectation in EXPECTATIONS.iter().filter(|expectation| applies(expectation.rule, options)) {
        match unnoticed(backend, options, expectation).await {
            None => proof.noticed += 1,
            Some(line) => proof.unnoticed.push(line),
        }
    }
    proof
}

fn applies(name: &str, options: &SuiteOptions) -> bool {
    let rule = rules().find(|rule| rule.name == name);
    rule.is_none_or(|rule| options.selects(name) && options.rules.without(rule.needs).is_none())
}

/// What was found instead of the fault, if it was not noticed.
async fn unnoticed(
    backend: &Arc<dyn Backend>,
    options: &SuiteOptions,
    expectation: &Expectation,
) -> Option<String> {
    let Expectation { fault, rule, found } = expectation;
    let faulty = FaultyBackend::new(backend.clone(), *fault);
    let deadline = match (*found == ENDLESS, rule.starts_with("time.")) {
        (true, true) => DEADLINE_OF_TIME,
        (true, false) => DEADLINE,
        (false, _) => options.deadline,
    };
    let only = iter::once((*rule).to_owned()).collect();
    let options = SuiteOptions { only, deadline, settle: SETTLE, ..options.clone() };
    let report = run(&faulty, &options).await;
    let outcome = report.outcomes.iter().find(|outcome| outcome.rule.name == *rule);
    match outcome.map(|outcome| &outcome.verdict) {
        Some(Verdict::Broken(why)) if why.contains(found) => None,
        other => Some(format!("{fault:?}: {rule} should say {found:?}, and says {other:?}")),
    }
}
