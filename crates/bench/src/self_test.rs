//! Runtimes that fail, lie, hang or leave something: each must be refused, for its own reason.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::executor::Executor as _;
use crate::plan::{Metric, Order};
use crate::refusal::{Cause, Failure, host};
use crate::sandbox::{Bundle, Group, PageCache, Sandboxes, Site, Source, Target};
use crate::workload;

/// For those that end by themselves.
const DEADLINE: Duration = Duration::from_secs(60);
/// For the one that hangs.
const SHORT_DEADLINE: Duration = Duration::from_millis(500);

const SEED: u64 = 7;

/// A fake runtime. `@SAYS@` in its script is what the work says when it is done, `$2` the folder for its state.
struct Fake {
    name: &'static str,
    script: &'static str,
    metric: Metric,
    /// The name of the cause for which it is refused; the honest one is not.
    refused: Option<&'static str>,
}

const fn fake(
    name: &'static str,
    metric: Metric,
    refused: Option<&'static str>,
    script: &'static str,
) -> Fake {
    Fake { name, script, metric, refused }
}

const FAKES: &[Fake] = &[
    fake("honest", Metric::WarmStart, None, "printf '@SAYS@'"),
    fake("fails", Metric::WarmStart, Some("wrong exit"), "echo 'no user mapping found' >&2; exit 1"),
    fake("says the right thing and fails", Metric::WarmStart, Some("wrong exit"), "printf '@SAYS@'; exit 1"),
    fake("is killed", Metric::WarmStart, Some("wrong exit"), "kill -9 $$"),
    fake("says the wrong thing", Metric::WarmStart, Some("wrong output"), "echo ready"),
    fake("says too much", Metric::ColdStart, Some("wrong output"), "printf '@SAYS@'; echo more"),
    fake("says nothing", Metric::WarmStart, Some("empty output"), "exit 0"),
    fake("hangs", Metric::WarmStart, Some("timed out"), "printf '@SAYS@'; exec sleep 1000"),
    fake("hangs idle", Metric::Memory, Some("timed out"), "exec sleep 1000"),
    fake(
        "leaves a process",
        Metric::WarmStart,
        Some("left behind"),
        "sleep 1000 </dev/null >/dev/null 2>&1 & printf '@SAYS@'",
    ),
    fake(
        "leaves its output held open",
        Metric::WarmStart,
        Some("left behind"),
        "sleep 1000 & printf '@SAYS@'",
    ),
    fake("leaves its state", Metric::WarmStart, Some("left behind"), "mkdir -p \"$2/box\"; printf '@SAYS@'"),
    fake(
        "works in no time",
        Metric::Cpu,
        Some("incredible"),
        "echo workload inside_ns=0 >&2; printf '@SAYS@'",
    ),
    fake(
        "works longer than it ran",
        Metric::Walk,
        Some("incredible"),
        "echo workload inside_ns=99000000000000 >&2; printf '@SAYS@'",
    ),
    fake("does not tell its time", Metric::Cpu, Some("incredible"), "printf '@SAYS@'"),
    fake("has no processes", Metric::Memory, Some("incredible"), "printf '@SAYS@'; read -r line"),
];

/// Tries each of them below `work`, and tells each verdict. Whether all of them were right.
pub fn run(work: &Path, tell: &mut dyn FnMut(&str)) -> Result<bool, Failure> {
    let mut right = true;
    for fake in FAKES {
        let verdict = verdict(work, fake)?;
        let is_right = verdict.as_ref().map(|(name, _)| *name) == fake.refused;
        right &= is_right;
        let words = match verdict {
            Some((name, why)) => format!("refused: {name}: {why}"),
            None => "accepted".into(),
        };
        let mark = if is_right { "ok" } else { "WRONG" };
        tell(&format!("{mark}: a runtime that {}: {words}", fake.name));
    }
    Ok(right)
}

/// Why it was refused, if it was.
fn verdict(work: &Path, fake: &Fake) -> Result<Option<(&'static str, String)>, Failure> {
    let target = target(work, fake).map_err(|why| host("write a fake runtime", work.display(), why))?;
    let site = Site {
        work: work.to_owned(),
        source: Source::Bare,
        bundle: Bundle::empty(),
        group: Group::none(),
        deadline: if fake.refused == Some("timed out") { SHORT_DEADLINE } else { DEADLINE },
        seed: SEED,
        page_cache: PageCache::Keep,
    };
    let mut sandboxes = Sandboxes::new(site, vec![target])?;
    match sandboxes.sample(&Order { metric: fake.metric, target: 0, round: Some(0) }) {
        Ok(_) => Ok(None),
        Err(Failure::Refused(refusal)) => Ok(Some((name(&refusal.cause), refusal.cause.to_string()))),
        Err(other) => Err(other),
    }
}

fn target(work: &Path, fake: &Fake) -> io::Result<Target> {
    let says = workload::work_of(fake.metric, SEED).says.unwrap_or_default();
    let script = fake.script.replace("@SAYS@", &says.replace('\n', "\\n"));
    let program = work.join("fake-runtime");
    fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(Target {
        name: fake.name.to_owned(),
        program,
        version: "fake".into(),
        sha256: String::new(),
        flags: Vec::new(),
        has_own_kernel: false,
    })
}

/// The cause in short.
pub(crate) fn name(cause: &Cause) -> &'static str {
    match cause {
        Cause::WrongExit { .. } => "wrong exit",
        Cause::Declined { .. } => "declined",
        Cause::EmptyOutput => "empty output",
        Cause::WrongOutput { .. } => "wrong output",
        Cause::TimedOut { .. } => "timed out",
        Cause::LeftBehind { .. } => "left behind",
        Cause::Incredible { .. } => "incredible",
        Cause::NotIsolated { .. } => "not isolated",
    }
}
