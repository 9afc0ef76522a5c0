//! The posture of a live container: what the engine says that it did, and what the host's `/proc` says that it is.

mod mounts;
mod process;

pub(crate) use process::PRIVILEGES;

use agentkernel_cgroup::Membership;
use agentkernel_core::{ByteSize, Control, Limits, Posture, SandboxSpec};
use serde_json::Value;

use crate::plan;

/// What the posture of one container must be.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    spec: SandboxSpec,
    /// What the engine must say that it has done.
    told: Value,
}

impl Expected {
    pub(crate) fn new(spec: &SandboxSpec, told: Value) -> Self {
        Self { spec: spec.clone(), told }
    }

    /// The same with other memory and processors.
    pub(crate) fn resized(&self, spec: SandboxSpec) -> Self {
        let mut told = self.told.clone();
        for (name, value) in plan::size(spec.limits()) {
            if let Some(was) = told.get_mut(name) {
                *was = value.into();
            }
        }
        Self { spec, told }
    }

    pub(crate) fn spec(&self) -> &SandboxSpec {
        &self.spec
    }

    /// Reads the posture. Without a group, the engine runs elsewhere, and there is its own word alone.
    pub(crate) fn check(&self, inspected: &Value, init: i32, group: Option<&Membership>) -> Posture {
        let mut controls = said_by_the_engine(&self.told, &inspected["HostConfig"]);
        let Some(group) = group else { return Posture { controls } };
        let processes = process::of_container(init);
        let threads = process::threads(&processes);
        controls.extend(process::identity(&self.spec, &threads));
        controls.extend(process::privileges(&threads));
        controls.extend(limits(self.spec.limits(), group));
        controls.push(members(&processes, inspected));
        if rustix::process::geteuid().is_root() {
            // What follows is told to root alone.
            controls.extend(process::namespaces(init));
            controls.extend(process::rlimits(self.spec.limits(), init));
            controls.push(process::network_is_empty(init));
            controls.push(process::arguments(init));
            controls.extend(mounts::controls(&self.spec, init));
        }
        Posture { controls }
    }
}

/// Every field that the engine was asked for, as it says that it has it.
pub(crate) fn said_by_the_engine(told: &Value, said: &Value) -> Vec<Control> {
    let asked = told.as_object().into_iter().flatten();
    asked
        .map(|(name, asked)| {
            let actual = &said[name];
            let held = is_in(asked, actual);
            let shown = if held { "as asked for".to_owned() } else { shortened(actual) };
            Control::judged(&format!("engine.{name}"), "as asked for", shown, held)
        })
        .collect()
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// Whether all that was asked for is there; engines add what they add.
fn is_in(asked: &Value, actual: &Value) -> bool {
    match (asked, actual) {
        (Value::Object(asked), Value::Object(actual)) => {
            asked.iter().all(|(name, value)| actual.get(name).is_some_and(|actual| is_in(value, actual)))
        }
        (Value::Array(asked), Value::Array(actual)) => {
            asked.len() == actual.len()
                && asked.iter().zip(actual).all(|(asked, actual)| is_in(asked, actual))
        }
        // None at all is said in more than one way.
        (Value::Number(none), Value::Null) => none.as_i64().is_some_and(|none| none <= 0),
        (Value::Array(none), Value::Null) => none.is_empty(),
        (Value::Bool(false), Value::Null) => true,
        _ => asked == actual,
    }
}

/// What the control group allows.
fn limits(limits: &Limits, group: &Membership) -> Vec<Control> {
    let show = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let pages = |bytes: Option<u64>| show(bytes.map(|bytes| bytes / 4096 * 4096));
    // Without a limit, v1 says the highest number of whole pages.
    let bounded = |value: Option<u64>| value.filter(|value| *value < 1 << 62);
    let memory = bounded(group.number("memory", "memory.limit_in_bytes", "memory.max"));
    let mut controls = vec![
        Control::exact("limit.memory_bytes", pages(limits.memory.value().map(ByteSize::get)), pages(memory)),
        Control::exact(
            "limit.cpu_milli",
            show(limits.cpus.value().map(|cpus| cpus.as_milli().into())),
            show(cpu_milli(group)),
        ),
        Control::exact(
            "limit.pids",
            show(limits.pids.value().map(u64::from)),
            show(group.number("pids", "pids.max", "pids.max")),
        ),
    ];
    if limits.memory.value().is_some() {
        controls.push(swap(memory, group));
    }
    controls
}

fn swap(memory: Option<u64>, group: &Membership) -> Control {
    let both = group.number("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let beyond =
        if group.is_v1("memory") { both.zip(memory).map(|(both, memory)| both - memory) } else { both };
    let has_swap = std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    let shown = format!("limit {beyond:?}, swap on the host: {has_swap}");
    Control::judged("limit.swap", "none to be had", shown, beyond == Some(0) || !has_swap)
}

/// Thousandths of a processor, rounded up.
fn cpu_milli(group: &Membership) -> Option<u64> {
    let (quota, period) = if group.is_v1("cpu") {
        let quota = group.number("cpu", "cpu.cfs_quota_us", "")?;
        (quota, group.number("cpu", "cpu.cfs_period_us", "")?)
    } else {
        let text = group.read("cpu", "", "cpu.max")?;
        let (quota, period) = text.split_once(' ')?;
        (quota.parse().ok()?, period.parse().ok()?)
    };
    Some((quota * 1000).div_ceil(period.max(1)))
}

/// Whether every process of the container's PID namespace is in its control groups.
fn members(processes: &[i32], inspected: &Value) -> Control {
    let id = inspected["Id"].as_str().unwrap_or("no id");
    let is_inside = |pid: i32| match std::fs::read_to_string(format!("/proc/{pid}/cgroup")) {
        Ok(groups) => {
            let of_limits = |line: &&str| ["memory", "pids", "cpu"].iter().any(|name| line.contains(name));
            let mut lines = groups.lines().filter(of_limits).peekable();
            if lines.peek().is_some() { lines.all(|line| line.contains(id)) } else { groups.contains(id) }
        }
        Err(_) => true, // it has ended
    };
    let outside: Vec<_> = processes.iter().filter(|pid| !is_inside(**pid)).collect();
    Control::judged(
        "cgroup.members",
        "every process",
        if outside.is_empty() { "every process".to_owned() } else { format!("not {outside:?}") },
        outside.is_empty(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_engine_left_out_or_changed_does_not_hold() {
        let plan = json!({
            "ReadonlyRootfs": true, "CapDrop": ["ALL"], "PidsLimit": 256, "LogConfig": {"Type": "none"}, "Init": false,
        });
        let broken = |actual: Value| -> Vec<String> {
            let controls = said_by_the_engine(&plan, &actual);
            controls.into_iter().filter(|control| !control.held).map(|control| control.name).collect()
        };
        let whole = json!({
            "ReadonlyRootfs": true, "CapDrop": ["ALL"], "PidsLimit": 256, "Init": null,
            "LogConfig": {"Type": "none", "Config": {}}, "More": 1,
        });
        assert_eq!(broken(whole.clone()), Vec::<String>::new());
        for (name, wrong) in [
            ("ReadonlyRootfs", json!(false)),
            ("CapDrop", json!(null)),
            ("CapDrop", json!(["ALL", "x"])),
            ("PidsLimit", json!(null)),
            ("LogConfig", json!({"Type": "json-file"})),
            ("Init", json!(true)),
        ] {
            let mut actual = whole.clone();
            actual[name] = wrong;
            assert_eq!(broken(actual), [format!("engine.{name}")]);
        }
    }
}
