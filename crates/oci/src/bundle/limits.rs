//! What a sandbox may use, as a bundle says it: `process.rlimits` and `linux.resources`.

use agentkernel_cgroup::CgroupPlan;
use agentkernel_core::{Limit, SandboxSpec};
use agentkernel_hardening::limits::{LOCKED_MEMORY_MAX, SIGNALS_MAX};
use serde_json::{Value, json};

use super::{DEVICE_NUMBERS, PlanFacts};

/// The rlimits of a sandbox's processes: kind, soft, hard.
pub(crate) fn rlimit_values(spec: &SandboxSpec, facts: &PlanFacts) -> Vec<(&'static str, u64, u64)> {
    let limits = spec.limits();
    let soft = u64::from(limits.open_files).min(facts.open_files_max);
    let hard = (u64::from(limits.open_files) * 4).min(facts.open_files_max);
    let disk = limits.disk.get();
    let signals = SIGNALS_MAX.min(facts.signals_max);
    let mut values = vec![
        ("RLIMIT_NOFILE", soft, hard),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_MEMLOCK", LOCKED_MEMORY_MAX, LOCKED_MEMORY_MAX),
        ("RLIMIT_FSIZE", disk, disk),
        ("RLIMIT_SIGPENDING", signals, signals),
    ];
    if let Limit::At(pids) = limits.pids {
        values.push(("RLIMIT_NPROC", u64::from(pids), u64::from(pids)));
    }
    values
}

pub(super) fn rlimits(spec: &SandboxSpec, facts: &PlanFacts) -> Value {
    rlimit_values(spec, facts)
        .into_iter()
        .map(|(kind, soft, hard)| json!({"type": kind, "soft": soft, "hard": hard}))
        .collect()
}

pub(super) fn resources(plan: &CgroupPlan, facts: &PlanFacts) -> Value {
    let mut resources = plan.resources(facts.swap);
    if facts.device_rules {
        resources["devices"] = devices();
    }
    resources
}

/// No device, and then these.
fn devices() -> Value {
    let allow = |(major, minor): &(u32, Option<u32>)| {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    };
    let none = json!({"allow": false, "access": "rwm"});
    std::iter::once(none).chain(DEVICE_NUMBERS.iter().map(allow)).collect()
}
