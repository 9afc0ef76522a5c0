//! The posture of a live machine: what the host sees of the VMM, and what the VMM says of the machine.
//!
//! What holds inside is the guest kernel's affair, which is set up by the agent before the first command and refused
//! by it where it cannot be.

use std::fs;
use std::io;

use agentkernel_core::{Control, Posture};
use rustix::process::Pid;
use serde_json::Value;

use crate::plan::{Accelerator, VmPlan};
use crate::qmp::Qmp;

/// Fields of `/proc/PID/status` of the VMM: no right, none to be had, and a filter of system calls.
const PROCESS: [(&str, &str, &str); 5] = [
    ("vmm.capabilities.permitted", "CapPrm", "0000000000000000"),
    ("vmm.capabilities.effective", "CapEff", "0000000000000000"),
    ("vmm.capabilities.inheritable", "CapInh", "0000000000000000"),
    ("vmm.no_new_privileges", "NoNewPrivs", "1"),
    ("vmm.seccomp", "Seccomp", "2"),
];

/// Every control of a machine.
pub(crate) async fn read(plan: &VmPlan, pid: Pid, qmp: &mut Qmp) -> io::Result<Posture> {
    let mut controls = process(plan, pid);
    controls.extend(machine(plan, qmp).await?);
    Ok(Posture { controls })
}

fn process(plan: &VmPlan, pid: Pid) -> Vec<Control> {
    let read =
        |file: &str| fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_pid())).unwrap_or_default();
    let status = read("status");
    let field = |name: &str| field(&status, name);
    let mut controls: Vec<Control> =
        PROCESS.iter().map(|(name, of, expected)| Control::exact(name, *expected, field(of))).collect();
    let words = read("cmdline");
    let words: Vec<&str> = words.trim_end_matches('\0').split('\0').skip(1).collect();
    controls.push(Control::exact("vmm.capabilities.bounding", bounding(), field("CapBnd")));
    let user = plan.user.to_string();
    controls.push(Control::exact("vmm.user", [user.as_str(); 4].join(" "), words_of(field("Uid"))));
    controls.push(Control::exact("vmm.command_line", plan.argv().join(" "), words.join(" ")));
    controls
}

/// What may be had at most: nothing. An ordinary user cannot give that up, and no new privileges is what keeps it.
fn bounding() -> String {
    if rustix::process::geteuid().is_root() {
        return "0000000000000000".to_owned();
    }
    let ours = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&ours, "CapBnd").to_owned()
}

/// A field of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(field, _)| *field == name).map_or("missing", |(_, value)| value.trim())
}

async fn machine(plan: &VmPlan, qmp: &mut Qmp) -> io::Result<Vec<Control>> {
    let kvm = qmp.ask("query-kvm", None).await?["enabled"] == true;
    let memory = qmp.ask("query-memory-size-summary", None).await?["base-memory"].to_string();
    let processors = qmp.ask("query-cpus-fast", None).await?.as_array().map_or(0, Vec::len);
    let disks = qmp.ask("query-block", None).await?;
    let network = qmp.ask("query-rx-filter", None).await?;
    let writable = list(&disks).filter(|disk| disk["inserted"]["ro"] != true).count();
    let of_kvm = plan.accelerator == Accelerator::Kvm;
    Ok(vec![
        Control::exact("machine.kvm", of_kvm.to_string(), kvm.to_string()),
        Control::exact("machine.memory", (plan.memory_mib << 20).to_string(), memory),
        Control::exact("machine.processors", plan.processors.to_string(), processors.to_string()),
        Control::exact("machine.disks", "1", list(&disks).count().to_string()),
        Control::exact("machine.writable_disks", "0", writable.to_string()),
        Control::exact("machine.network_devices", "0", list(&network).count().to_string()),
    ])
}

fn words_of(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
