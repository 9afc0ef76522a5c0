//! Targets that fail, lie or hang: each must be refused by a whole run, for its own reason.

use std::path::Path;
use std::time::Duration;

use super::benchmark::{Benchmark, Plan};
use super::interrupt::Interrupt;
use super::machine::course::{Brought, Course, Doer, Figure, Missing, Setup, Step, Talk, words};
use super::machine::proving::{Expects, Proving};
use super::machine::{Machine, Site, Target, work};
use super::measure::measure;
use super::record::Row;
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::self_test::name;

/// For those that end by themselves.
const DEADLINE: Duration = Duration::from_secs(60);
/// For those that hang.
const SHORT_DEADLINE: Duration = Duration::from_millis(500);
/// What each has to say.
const TOKEN: &str = "ready-7";

/// In a script that tells of its isolation.
const TELLS_FACTS: &str = "kernel";

/// A target that is a script.
#[derive(Debug)]
pub struct Script(pub String);

impl Doer for Script {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        let script = words(["/bin/sh", "-c", &self.0]);
        let one = Course::one(script.clone(), site);
        Ok(match benchmark {
            Benchmark::Phases => Course { figure: Figure::Phases, ..one },
            Benchmark::Cpu => Course::inside(script, TOKEN),
            Benchmark::Fork => Course {
                talk: Some(Talk {
                    words: script,
                    variables: Vec::new(),
                    first: None,
                    each: "{}".into(),
                    says: TOKEN.into(),
                    parts: Vec::new(),
                    count: 1,
                }),
                ..Course::default()
            },
            Benchmark::Exec => Course { before: vec![Setup::Stay(script)], ..one },
            Benchmark::Lifecycle => Course {
                timed: vec![Step::quiet("create", words(["/bin/true"])), Step::saying("exec", script, TOKEN)],
                ..Course::default()
            },
            Benchmark::Copy => {
                // The script's own name is the folder of the run.
                let work = site.work.display().to_string();
                let like = work::copied(site).0;
                Course {
                    timed: vec![Step::quiet("out", [script, vec![work]].concat())],
                    brings: vec![Brought { to: site.work.join("back"), like }],
                    ..Course::default()
                }
            }
            _ => one,
        })
    }

    fn proof(&self, _: &Site) -> Result<Proving, Missing> {
        if !self.0.contains(TELLS_FACTS) {
            return Err(Missing::Elsewhere);
        }
        let facts = Step::quiet("facts", words(["/bin/sh", "-c", &self.0]));
        Ok(Proving { course: Course::default(), facts, expects: Expects::Others { own_kernel: false } })
    }

    fn is_others(&self) -> bool {
        false
    }
}

/// Where scripts are tried: nothing of it is looked at.
#[must_use]
pub fn site(work: &Path) -> Site {
    Site {
        program: "/nowhere".into(),
        folders: Vec::new(),
        variables: Vec::new(),
        deadline: DEADLINE,
        seed: 7,
        token: TOKEN.into(),
        image: String::new(),
        at_once_max: 2,
        copied_bytes: 4096,
        copied_files: 4,
        work: work.to_owned(),
        home: work.join("home"),
        machines: None,
        daemon: None,
        e2b_api_key: None,
    }
}

/// What it does, in which benchmark, by which script, and the name of the cause for which it is refused.
type Fake = (&'static str, Benchmark, &'static str, Option<&'static str>);

const FAKES: &[Fake] = &[
    ("is right", Benchmark::Startup, "echo ready-7", None),
    ("is right many times at once", Benchmark::Stress, "echo ready-7", None),
    ("fails", Benchmark::Startup, "echo 'no such image' >&2; exit 1", Some("wrong exit")),
    ("fails among many", Benchmark::Stress, "exit 1", Some("wrong exit")),
    ("says the right thing and fails", Benchmark::Startup, "echo ready-7; exit 1", Some("wrong exit")),
    ("prints the wrong thing", Benchmark::Startup, "echo ready", Some("wrong output")),
    ("prints too much", Benchmark::Concurrent, "echo ready-7; echo more", Some("wrong output")),
    ("prints nothing", Benchmark::Startup, "exit 0", Some("empty output")),
    ("hangs", Benchmark::Startup, "echo ready-7; exec sleep 1000", Some("timed out")),
    ("hangs before its first word", Benchmark::Exec, "exec sleep 1000", Some("timed out")),
    ("ends instead of waiting", Benchmark::Exec, "exit 3", Some("wrong exit")),
    ("tells no phases", Benchmark::Phases, "echo ready-7", Some("incredible")),
    ("works in no time", Benchmark::Cpu, "echo workload inside_ns=0 >&2; echo ready-7", Some("incredible")),
    ("brings back what was sent", Benchmark::Copy, "cp \"$0/file\" \"$0/back\"", None),
    ("brings back something else", Benchmark::Copy, "echo x >\"$0/back\"", Some("wrong output")),
    ("brings back nothing", Benchmark::Copy, "true", Some("incredible")),
    (
        "is on the host's own network",
        Benchmark::Startup,
        r#"echo "{\"kernel\":\"$(cat /proc/version)\",\"interfaces\":[\"lo\"],\"network\":\"$(readlink /proc/self/ns/net)\"}""#,
        Some("not isolated"),
    ),
    ("tells nothing of its isolation", Benchmark::Startup, r#"echo "not \"kernel\"""#, Some("incredible")),
    (
        "does as it is told",
        Benchmark::Fork,
        r#"echo ready; while read -r order; do printf '%s\n' '{"exit_code":0,"stdout":"ready-7\n"}'; done"#,
        None,
    ),
    (
        "declines an order",
        Benchmark::Fork,
        r#"echo ready; while read -r order; do echo '{"error":"no room"}'; done"#,
        Some("declined"),
    ),
    (
        "answers with the wrong thing",
        Benchmark::Fork,
        r#"echo ready; while read -r order; do printf '%s\n' '{"exit_code":0,"stdout":"ready-8\n"}'; done"#,
        Some("wrong output"),
    ),
    ("answers no order", Benchmark::Fork, "echo ready; exec sleep 1000", Some("timed out")),
    ("ends instead of answering", Benchmark::Fork, "echo ready; read -r order; exit 3", Some("wrong exit")),
    ("is not ready for orders", Benchmark::Fork, "echo no; exec sleep 1000", Some("incredible")),
    ("fails in the middle of its life", Benchmark::Lifecycle, "exit 1", Some("wrong exit")),
];

/// Tries each of them, and tells each verdict. Whether all of them were right.
///
/// # Errors
/// It could not be tried.
pub fn run(work: &Path, tell: &mut dyn FnMut(&str)) -> Result<bool, Failure> {
    let mut right = true;
    for fake in FAKES {
        let (failure, row) = tried(work, fake)?;
        let (verdict, is_right) = judged(fake, failure.as_ref(), &row);
        right &= is_right;
        let mark = if is_right { "ok" } else { "WRONG" };
        tell(&format!("{mark}: a target that {}: {verdict}", fake.0));
    }
    Ok(right)
}

/// In a run of its own.
fn tried(work: &Path, fake: &Fake) -> Result<(Option<Failure>, Row), Failure> {
    let (_, benchmark, script, refused) = *fake;
    let deadline = if refused == Some("timed out") { SHORT_DEADLINE } else { DEADLINE };
    let target = Target { name: "fake".into(), doer: Box::new(Script(script.into())) };
    let (interrupt, _trigger) =
        Interrupt::new().map_err(|why| host("make ready for an interruption", "a pipe", why))?;
    let mut machine = Machine::of(Site { deadline, ..site(work) }, vec![target], interrupt);
    let benchmarks = vec![benchmark];
    let plan = Plan { benchmarks, iterations: 2, warm_ups: 0, seed: 7, at_once_max: 2, stress_count: 4 };
    let outcome = measure(&plan, &mut machine, &mut |_, _, _| {}, &mut |_| Ok(()));
    let record = outcome.records.into_iter().next().or(outcome.unfinished);
    let row = record.and_then(|record| record.rows.into_iter().next_back());
    Ok((outcome.failure, row.unwrap_or_default()))
}

/// In words, and whether it is as it must be: refused for its reason, counted, and with no figure.
fn judged(fake: &Fake, failure: Option<&Failure>, row: &Row) -> (String, bool) {
    match failure {
        None => ("accepted".into(), fake.3.is_none() && !row.samples.is_empty()),
        Some(Failure::Refused(Refusal { cause, .. })) => {
            let timeouts = u32::from(matches!(cause, Cause::TimedOut { .. }));
            let is_counted = (row.failures, row.timeouts) == (1 - timeouts, timeouts);
            let is_right = fake.3 == Some(name(cause)) && is_counted && row.samples.is_empty();
            (format!("refused: {}: {cause}", name(cause)), is_right)
        }
        Some(other) => (format!("not tried: {other}"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fake_gets_the_verdict_that_it_must() {
        let work = tempfile::tempdir().expect("a folder");
        let mut said = Vec::new();
        let right = run(work.path(), &mut |line| said.push(line.to_owned())).expect("tried");
        assert!(right && said.len() == FAKES.len(), "{said:#?}");
    }
}
