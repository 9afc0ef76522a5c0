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

    /// Reads the posture, once the agent answers. An engine that runs elsewhere has its own word alone; one that runs here
    /// and has made no group, no limits.
    pub(crate) fn check(&self, inspected: &Value, group: Option<&Membership>) -> Posture {
        let mut controls = said_by_the_engine(&self.told, &inspected["HostConfig"]);
        let init = first_process(inspected).filter(|init| group.is_some() || process::is_agent(*init));
        let Some(init) = init else { return Posture { controls } };
        let processes = process::of_container(init);
        let threads = process::threads(&processes);
        controls.extend(process::identity(&self.spec, init, &threads));
        controls.extend(process::privileges(&threads));
        controls.extend(limits(self.spec.limits(), group));
        controls.extend(group.map(|_| members(&processes, inspected)));
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

/// The container's first process, in the engine's own numbers.
pub(crate) fn first_process(inspected: &Value) -> Option<i32> {
    let pid = inspected["State"]["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.filter(|pid| *pid > 0)
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
            asked.iter().all(|(name, value)| is_in(value, actual.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(asked), Value::Array(actual)) => {
            asked.len() == actual.len()
                && asked.iter().zip(actual).all(|(asked, actual)| is_in(asked, actual))
        }
        // None at all is said in more than one way.
        (Value::Number(none), Value::Null) => none.as_i64().is_some_and(|none| none <= 0),
        (Value::Array(none), Value::Null) => none.is_empty(),
        (Value::Object(none), Value::Null) => none.is_empty(),
        (Value::Bool(false), Value::Null) => true,
        _ => asked == actual,
    }
}

/// What the control group allows, or that there is none.
fn limits(limits: &Limits, group: Option<&Membership>) -> Vec<Control> {
    let show = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let pages = |bytes: Option<u64>| show(bytes.map(|bytes| bytes / 4096 * 4096));
    // Without a limit, v1 says the highest number of whole pages.
    let bounded = |value: Option<u64>| value.filter(|value| *value < 1 << 62);
    let number = |controller, v1, v2| group.and_then(|group| group.number(controller, v1, v2));
    let memory = bounded(number("memory", "memory.limit_in_bytes", "memory.max"));
    let mut controls = vec![
        Control::exact("limit.memory_bytes", pages(limits.memory.value().map(ByteSize::get)), pages(memory)),
        Control::exact(
            "limit.cpu_milli",
            show(limits.cpus.value().map(|cpus| cpus.as_milli().into())),
            show(group.and_then(cpu_milli)),
        ),
        Control::exact(
            "limit.pids",
            show(limits.pids.value().map(u64::from)),
            show(number("pids", "pids.max", "pids.max")),
        ),
    ];
    if let (Some(_), Some(group)) = (limits.memory.value(), group) {
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
    use agentkernel_core::{Limit, Profile};
    use serde_json::json;

    use super::*;

    #[test]
    fn without_a_group_every_limit_that_was_asked_for_is_missed() {
        let broken = |limits: &Limits| -> Vec<String> {
            let controls = super::limits(limits, None);
            controls.into_iter().filter(|control| !control.held).map(|control| control.name).collect()
        };
        let all = Limits::of(Profile::Restrictive);
        assert_eq!(broken(&all), ["limit.memory_bytes", "limit.cpu_milli", "limit.pids"]);
        let none = Limits { memory: Limit::Unlimited, cpus: Limit::Unlimited, pids: Limit::Unlimited, ..all };
        assert_eq!(broken(&none), [] as [&str; 0]);
    }

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
