//! The conformance suite: every sentence of the contract of the doors, as a rule that a backend keeps.
//!
//! ```ignore
//! let options = SuiteOptions::for_backend(&backend);
//! conformance::run(&backend, &options).await.assert_all_held();
//! ```
//!
//! Each rule boots sandboxes of its own, talks to them through the doors alone, and needs no more inside
//! than a POSIX shell and coreutils. A rule that has not ended by its deadline is broken. That the rules
//! can see is proven elsewhere: each is broken on purpose by a [`crate::Fault`] that it must notice.

mod archives;
mod context;
mod exec;
mod files;
mod folders;
mod isolation;
mod life;
mod lifecycle;
mod limits;
mod names;
mod options;
mod proof;
mod report;
mod resize;
mod rule;
mod shared;
mod signals;
mod snapshots;
mod streams;
mod talk;
mod terminal;
mod time;
mod usage;

use agentkernel_core::Backend;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

pub use options::{Rules, SuiteOptions};
pub use proof::{Proof, prove};
pub use report::{Outcome, Report, Verdict};
pub use rule::{Broken, Rule};
pub use shared::{INSIDE, Shared};

use context::Context;

/// The groups of rules, in the order in which they run.
const GROUPS: &[&[Rule]] = &[
    exec::RULES,
    signals::RULES,
    streams::RULES,
    terminal::RULES,
    files::RULES,
    folders::RULES,
    archives::RULES,
    time::RULES,
    lifecycle::RULES,
    life::RULES,
    snapshots::RULES,
    names::RULES,
    limits::RULES,
    resize::RULES,
    isolation::PRIVILEGES,
    isolation::RULES,
];

/// Rules count what is left on the host, so that two suites in one process would see each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Every rule there is.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    GROUPS.iter().copied().flatten()
}

/// Holds a backend to every rule that applies to it.
pub async fn run(backend: &dyn Backend, options: &SuiteOptions) -> Report {
    let _alone = ONE_AT_A_TIME.lock().await;
    let context = Context::new(backend, options);
    let mut outcomes = Vec::new();
    for rule in rules().filter(|rule| options.selects(rule.name)) {
        let begin = Instant::now();
        let verdict = match options.rules.without(rule.needs) {
            Some(why) => Verdict::NotApplicable(why.to_owned()),
            None => judge(rule, &context).await,
        };
        outcomes.push(Outcome { rule, verdict, time: begin.elapsed() });
    }
    Report { backend: backend.kind(), outcomes }
}

async fn judge(rule: &Rule, context: &Context<'_>) -> Verdict {
    let deadline = context.options.deadline_of(rule.name);
    match timeout(deadline, (rule.check)(context)).await {
        Ok(Ok(())) => Verdict::Held,
        Ok(Err(Broken(why))) => Verdict::Broken(why),
        Err(_) => Verdict::Broken(format!("did not end within {deadline:?}")),
    }
}
