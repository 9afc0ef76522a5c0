//! That a target isolates, before anything of it is timed: what a program inside sees, and what the host sees of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Machine;
use super::course::{Course, Figure, Missing, Step};
use super::running::Doing;
use crate::proof::{self, Check, HostView};
use crate::refusal::{Cause, Failure};
use crate::sandbox::{GroupLimits, group};
use crate::suite::subject::NotReady;

/// What is done while it is proven, for messages.
const PROOF: &str = "proof";

/// How a target is looked at.
#[derive(Debug, Clone)]
pub struct Proving {
    /// A sandbox that lives; where the host can see its processes, the timed step tells which these are.
    pub course: Course,
    /// Runs the work that tells what it sees, in that sandbox or in one of its own.
    pub facts: Step,
    /// What has to be found.
    pub expects: Expects,
}

/// What has to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// All that ours promise.
    Ours {
        /// Whether it has a kernel of its own.
        own_kernel: bool,
        /// What the host's control group is to allow, where the host can see it.
        limits: Option<GroupLimits>,
    },
    /// Of others' only what was asked of them: another network. What else they are is stored.
    Others {
        /// Whether it has a kernel of its own.
        own_kernel: bool,
    },
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proven {
    /// Every check held: otherwise nothing was timed.
    Checked(Found),
    /// It was not looked at.
    NotLookedAt {
        /// Why not.
        why: String,
    },
}

/// What a look has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What the program inside says.
    pub inside: Value,
    /// What the host sees; its processes only where they can be told.
    pub host: HostView,
    /// What both mean.
    pub checks: Vec<Check>,
}

impl Machine {
    /// Looks at a target, once in a run.
    pub(super) fn prove(&mut self, target: usize) -> Result<(), NotReady> {
        if self.proven.contains_key(&target) {
            return Ok(());
        }
        let proven = match self.targets[target].doer.proof(&self.site) {
            Ok(proving) => {
                let found = self.look(target, &proving);
                let left = self.take_all_down(target, PROOF);
                let found = found?;
                left?;
                Proven::Checked(found)
            }
            Err(Missing::Absent(why)) => Proven::NotLookedAt { why },
            Err(Missing::Elsewhere) => return Ok(()),
        };
        self.proven.insert(target, proven);
        Ok(())
    }

    fn look(&mut self, target: usize, proving: &Proving) -> Result<Found, NotReady> {
        self.set_up(target, PROOF, proving.course.clone())?;
        let doing = self.doing(target, PROOF);
        let inside: Value = serde_json::from_slice(&self.facts(doing, target, proving)?).map_err(|why| {
            doing.refused(Cause::Incredible { why: format!("what it says of itself is no JSON: {why}") })
        })?;
        let host = match (&proving.course.figure, proving.course.timed.first()) {
            (Figure::MemoryOf(whose), Some(step)) => {
                let said = self.done(doing, step, proving.course.by_daemon)?;
                let pid = self.first_process(doing, whose, &said)?;
                let processes = group::processes_with(pid).map_err(|why| doing.failed(why))?;
                HostView::of(&processes, &|name| group::limit_with(pid, name))
            }
            _ => HostView::of(&BTreeSet::new(), &|_| None),
        };
        let checks = judge(proving.expects, &inside, &host);
        let broken: Vec<String> = checks.iter().filter(|check| !check.holds).map(Check::in_words).collect();
        if broken.is_empty() {
            return Ok(Found { inside, host, checks });
        }
        Err(doing.refused(Cause::NotIsolated { broken }).into())
    }

    fn facts(&self, doing: Doing<'_>, target: usize, proving: &Proving) -> Result<Vec<u8>, Failure> {
        let own = self.own_name();
        let bundle = self.ready(target)?.staged.as_ref().filter(|staged| staged.is_per_sample());
        bundle.map_or(Ok(()), |staged| staged.make(&own)).map_err(|why| doing.failed(why))?;
        let said = self.done(doing, &proving.facts.named(&own), proving.course.by_daemon);
        let left =
            bundle.map_or(Ok(Vec::new()), |staged| staged.remove(&own)).map_err(|why| doing.failed(why))?;
        let said = said?;
        doing.left_nothing(&left)?;
        Ok(said)
    }
}

/// What the views mean. All of it, whatever is wrong already.
fn judge(expects: Expects, inside: &Value, host: &HostView) -> Vec<Check> {
    let (own_kernel, is_ours, limits) = match expects {
        Expects::Ours { own_kernel, limits } => (own_kernel, true, limits),
        Expects::Others { own_kernel } => (own_kernel, false, None),
    };
    let mut checks = vec![proof::kernel(own_kernel, inside, host), proof::interfaces(inside)];
    if !own_kernel {
        checks.push(network(inside, host));
    }
    let is_seen = !host.processes.is_empty();
    if is_seen {
        checks.push(proof::networks(host));
    }
    if is_ours {
        checks.extend(proof::privileges(inside));
    }
    if is_ours && !own_kernel {
        checks.push(proof::root(inside));
    }
    if let Some(limits) = limits.filter(|_| is_seen) {
        checks.extend(proof::group(&limits, host));
    }
    checks
}

/// Where it is the same kernel's, a namespace has one number for all.
fn network(inside: &Value, host: &HostView) -> Check {
    let found = inside["network"].as_str().unwrap_or("not told");
    let holds = found.starts_with("net:[") && found != host.network;
    Check::judged("network namespace inside", "not the host's", found, holds)
}

/// For a person: of each target how much was looked at, or why nothing was.
#[must_use]
pub fn in_words(target: &str, proven: &Proven) -> String {
    match proven {
        Proven::Checked(Found { checks, host, .. }) if host.processes.is_empty() => {
            format!("{target}: {} checks from inside", checks.len())
        }
        Proven::Checked(Found { checks, .. }) => {
            format!("{target}: {} checks from inside and from the host", checks.len())
        }
        Proven::NotLookedAt { why } => format!("{target}: not looked at, because {why}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proof::ProcessView;

    const OURS: Expects = Expects::Ours { own_kernel: false, limits: None };
    const OTHERS: Expects = Expects::Others { own_kernel: false };

    fn inside() -> Value {
        let (none, ids) = ("0000000000000000", "65532 65532 65532 65532");
        json!({
            "kernel": "Linux version 6.1", "uid": ids, "gid": ids, "cap_inheritable": none, "cap_permitted": none,
            "cap_effective": none, "cap_bounding": none, "cap_ambient": none, "seccomp": "2", "no_new_privs": 1,
            "interfaces": ["lo"], "network": "net:[2]", "root_write": "read-only",
        })
    }

    fn host() -> HostView {
        HostView {
            kernel: "Linux version 6.1".into(),
            network: "net:[1]".into(),
            ..HostView::of(&BTreeSet::new(), &|_| None)
        }
    }

    fn broken(expects: Expects, name: &str, value: Value) -> Vec<String> {
        let mut inside = inside();
        inside[name] = value;
        let checks = judge(expects, &inside, &host());
        checks.into_iter().filter(|check| !check.holds).map(|check| check.name).collect()
    }

    #[test]
    fn each_control_that_is_taken_away_is_found_and_of_others_only_what_was_asked_of_them() {
        for expects in [OURS, OTHERS] {
            assert_eq!(broken(expects, "nothing", Value::Null), [] as [String; 0]);
            assert_eq!(broken(expects, "network", json!("net:[1]")), ["network namespace inside"]);
            assert_eq!(broken(expects, "network", Value::Null), ["network namespace inside"]);
            assert_eq!(broken(expects, "interfaces", json!(["lo", "eth0"])), ["network interfaces inside"]);
            assert_eq!(broken(expects, "kernel", json!("Linux version 4.4")), ["kernel inside"]);
        }
        for (name, value) in [
            ("uid", json!("0 0 0 0")),
            ("cap_bounding", json!("0000000000000001")),
            ("seccomp", json!("0")),
            ("no_new_privs", json!(0)),
            ("root_write", json!("written")),
        ] {
            assert_eq!(broken(OURS, name, value.clone()).len(), 1, "{name}");
            assert_eq!(broken(OTHERS, name, value).len(), 0, "{name}");
        }
    }

    #[test]
    fn a_kernel_of_its_own_is_not_the_hosts_and_its_namespaces_are_not_compared() {
        let own = Expects::Ours { own_kernel: true, limits: None };
        assert_eq!(broken(own, "kernel", json!("Linux version 4.4")), [] as [String; 0]);
        assert_eq!(broken(own, "network", json!("net:[1]")), ["kernel inside"]);
    }

    #[test]
    fn limits_are_read_back() {
        let limits = GroupLimits { memory_bytes: 7, cpu_quota_us: 1, cpu_period_us: 1, pids: 3, swap: false };
        let expects = Expects::Ours { own_kernel: false, limits: Some(limits) };
        let files = [("memory.max", "8"), ("cpu.max", "1 1"), ("pids.max", "3")];
        let limits = files.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let process = ProcessView { network: "net:[2]".into(), ..ProcessView::default() };
        let host = HostView { limits, processes: vec![process], ..host() };
        let broken = |host: &HostView| -> Vec<String> {
            let checks = judge(expects, &inside(), host).into_iter().filter(|check| !check.holds);
            checks.map(|check| check.name).collect()
        };
        assert_eq!(broken(&host), ["memory.max"]);
        let nowhere = HostView { limits: Default::default(), ..host };
        assert_eq!(broken(&nowhere).len(), 4, "limits that cannot be read do not hold");
    }
}
