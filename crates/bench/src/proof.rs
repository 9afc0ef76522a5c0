//! That a target isolates as its bundle says: looked at from inside and from the host, before anything is timed.

mod view;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::refusal::{Cause, Failure, Refusal};
use crate::sandbox::{GroupLimits, Sandboxes, Target};
use crate::workload;
pub use view::{HostView, ProcessView};

/// The user that our sandboxes run commands as.
const USER: &str = "65532";

/// `Seccomp:` of `/proc/PID/status` where a filter is installed.
const FILTERED: &str = "2";

/// The proof of one target.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// Of whom.
    pub target: String,
    /// What the program inside says.
    pub inside: Value,
    /// What the host sees.
    pub host: HostView,
    /// What both mean.
    pub checks: Vec<Check>,
}

/// One thing that must be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// What must be found.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Whether it is right.
    pub holds: bool,
}

/// Takes the proof of a target, or refuses the target.
pub fn take(sandboxes: &Sandboxes, index: usize) -> Result<Proof, Failure> {
    let target = &sandboxes.targets()[index];
    let site = sandboxes.site();
    let mut taken = None;
    sandboxes.show(index, &mut |processes, line| {
        let inside = serde_json::from_str(line)
            .map_err(|why| Cause::Incredible { why: format!("what it says of itself is no JSON: {why}") })?;
        taken = Some((inside, HostView::of(processes, &|name| site.group.read(name))));
        Ok(())
    })?;
    let refuse = |cause| {
        Failure::Refused(Refusal { target: target.name.clone(), while_measuring: "proof".into(), cause })
    };
    let (inside, host) = taken
        .ok_or_else(|| refuse(Cause::Incredible { why: "it ended before it could be looked at".into() }))?;
    let checks = judge(target, &site.bundle.limits, &inside, &host);
    let broken: Vec<String> = checks.iter().filter(|check| !check.holds).map(Check::in_words).collect();
    if broken.is_empty() {
        Ok(Proof { target: target.name.clone(), inside, host, checks })
    } else {
        Err(refuse(Cause::NotIsolated { broken }))
    }
}

impl Check {
    /// Exactly this.
    pub fn exact(name: &str, expected: &str, found: &str) -> Self {
        Self::judged(name, expected, found, expected == found)
    }

    /// Judged already.
    pub fn judged(name: &str, expected: &str, found: &str, holds: bool) -> Self {
        let words = |text: &str| text.to_owned();
        Self { name: words(name), expected: words(expected), found: words(found), holds }
    }

    /// What is wrong.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} is {:?} and not {:?}", self.name, self.found, self.expected)
    }
}

/// What the views mean. All of it, whatever is wrong already.
#[must_use]
pub fn judge(target: &Target, limits: &GroupLimits, inside: &Value, host: &HostView) -> Vec<Check> {
    let mut checks = vec![kernel(target.has_own_kernel, inside, host), where_the_work_is(target, host)];
    checks.extend(privileges(inside));
    checks.push(root(inside));
    checks.push(networks(host));
    checks.push(interfaces(inside));
    checks.extend(group(limits, host));
    checks
}

fn said<'a>(inside: &'a Value, name: &str) -> &'a str {
    inside[name].as_str().unwrap_or("not told")
}

/// A sandbox with a kernel of its own does not show the host's; any other shows exactly that.
pub fn kernel(has_own_kernel: bool, inside: &Value, host: &HostView) -> Check {
    let found = said(inside, "kernel");
    let is_the_hosts = found == host.kernel;
    if has_own_kernel {
        let holds = !is_the_hosts && found.starts_with("Linux version ");
        Check::judged("kernel inside", "Linux version …, not the host's", found, holds)
    } else {
        Check::judged("kernel inside", &host.kernel, found, is_the_hosts)
    }
}

/// gVisor's work runs in no process of the host with the work's own program; a container's does.
fn where_the_work_is(target: &Target, host: &HostView) -> Check {
    let is_work = |process: &&ProcessView| process.program == workload::PLACE;
    let found = host.processes.iter().filter(is_work).count();
    let expected = usize::from(!target.has_own_kernel);
    Check::exact("host processes that are the work", &expected.to_string(), &found.to_string())
}

/// The user, the filter and the capabilities, as our sandboxes have them.
pub fn privileges(inside: &Value) -> Vec<Check> {
    let ids = [USER; 4].join(" ");
    let mut checks = vec![
        Check::exact("user ids inside", &ids, said(inside, "uid")),
        Check::exact("group ids inside", &ids, said(inside, "gid")),
        Check::exact("seccomp mode inside", FILTERED, said(inside, "seccomp")),
        Check::exact("no_new_privs inside", "1", &inside["no_new_privs"].to_string()),
    ];
    for set in ["inheritable", "permitted", "effective", "bounding", "ambient"] {
        let found = &inside[format!("cap_{set}")];
        // gVisor does not tell the ambient set: it is a part of the permitted one, which it tells.
        let is_left_out = set == "ambient" && found.is_null();
        let found = if is_left_out { "not told" } else { found.as_str().unwrap_or("not told") };
        let holds = is_left_out || (!found.is_empty() && found.bytes().all(|digit| digit == b'0'));
        checks.push(Check::judged(&format!("{set} capabilities inside"), "0000000000000000", found, holds));
    }
    checks
}

/// The root file system.
pub fn root(inside: &Value) -> Check {
    Check::exact("writing to the root folder", "read-only", said(inside, "root_write"))
}

/// Where its processes on the host are.
pub fn networks(host: &HostView) -> Check {
    let shared = host.processes.iter().filter(|process| process.network == host.network).count();
    let unknown = host.processes.iter().filter(|process| process.network.is_empty()).count();
    let holds = !host.processes.is_empty() && shared == 0 && unknown == 0;
    let count = host.processes.len();
    let found = format!("{shared} in the host's, {unknown} unknown, of {count}");
    Check::judged("network namespaces of its processes", "none is the host's", &found, holds)
}

/// Ways out.
pub fn interfaces(inside: &Value) -> Check {
    let found = &inside["interfaces"];
    let holds = found.as_array().is_some_and(|names| names.iter().all(|name| name == "lo"));
    Check::judged("network interfaces inside", "none but lo", &found.to_string(), holds)
}

/// What its control group allows, read back by version 1 or 2.
pub fn group(limits: &GroupLimits, host: &HostView) -> Vec<Check> {
    let GroupLimits { memory_bytes, cpu_quota_us, cpu_period_us, pids, swap } = limits;
    let found = |name: &str| host.limits.get(name).map_or("not there", String::as_str);
    let exact = |name: &str, expected: &str| Check::exact(name, expected, found(name));
    if host.limits.contains_key("cpu.max") {
        let mut checks = vec![
            exact("memory.max", &memory_bytes.to_string()),
            exact("cpu.max", &format!("{cpu_quota_us} {cpu_period_us}")),
            exact("pids.max", &pids.to_string()),
        ];
        checks.extend(swap.then(|| exact("memory.swap.max", "0")));
        return checks;
    }
    let mut checks = vec![
        exact("memory.limit_in_bytes", &memory_bytes.to_string()),
        exact("cpu.cfs_quota_us", &cpu_quota_us.to_string()),
        exact("cpu.cfs_period_us", &cpu_period_us.to_string()),
        exact("pids.max", &pids.to_string()),
    ];
    checks.extend(swap.then(|| exact("memory.memsw.limit_in_bytes", &memory_bytes.to_string())));
    checks
}

#[cfg(test)]
mod tests;
