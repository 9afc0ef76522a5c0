//! The posture of a live machine: what the host sees of the VMM, and what the VMM says of the machine.
//!
//! What holds inside is the guest kernel's affair, which is set up by the agent before the first command and refused
//! by it where it cannot be.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use agentkernel_core::{Control, Posture};
use rustix::process::Pid;

use crate::backend::Holdings;
use crate::control;
use crate::plan::firecracker::JAIL;
use crate::plan::{VmPlan, VmmKind};

/// What Firecracker's jailer says besides, each word before a value.
const OF_THE_JAILER: [&str; 4] = ["--id", "--start-time-us", "--start-time-cpu-us", "--parent-cpu-time-us"];

/// Namespaces that a jailed VMM has for itself.
const JAILED_IN: [&str; 4] = ["mnt", "net", "pid", "ipc"];

/// Fields of `/proc/PID/status` of the VMM: no right, none to be had, and a filter of system calls.
const PROCESS: [(&str, &str, &str); 5] = [
    ("vmm.capabilities.permitted", "CapPrm", "0000000000000000"),
    ("vmm.capabilities.effective", "CapEff", "0000000000000000"),
    ("vmm.capabilities.inheritable", "CapInh", "0000000000000000"),
    ("vmm.no_new_privileges", "NoNewPrivs", "1"),
    ("vmm.seccomp", "Seccomp", "2"),
];

/// Every control of a machine that holds this.
pub(crate) async fn read(
    plan: &VmPlan,
    pid: Pid,
    holdings: &Holdings,
    control: &mut control::Control,
) -> io::Result<Posture> {
    let mut controls = process(plan, pid);
    if plan.jailed {
        controls.extend(jail(pid, holdings.path()));
    }
    controls.extend(holdings.group().into_iter().flat_map(|group| group.controls(pid.as_raw_pid())));
    controls.extend(control.facts(plan).await?);
    Ok(Posture { controls })
}

/// What a jailed VMM sees of the host: its jail.
fn jail(pid: Pid, folder: &Path) -> Vec<Control> {
    let place = |path: &Path| fs::metadata(path).map(|facts| (facts.dev(), facts.ino())).ok();
    let proc = Path::new("/proc").join(pid.as_raw_pid().to_string());
    let root = place(&proc.join("root"));
    let is_there = root.is_some() && root == place(&folder.join(JAIL));
    let told = if is_there { "its jail" } else { "another folder" };
    let mut controls = vec![Control::exact("vmm.root", "its jail", told)];
    for kind in JAILED_IN {
        let (its, ours) =
            (fs::read_link(proc.join("ns").join(kind)), fs::read_link(format!("/proc/self/ns/{kind}")));
        let is_own = its.is_ok() && its.ok() != ours.ok();
        let told = if is_own { "its own" } else { "the host's" };
        controls.push(Control::exact(&format!("vmm.namespace.{kind}"), "its own", told));
    }
    controls
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
    if !plan.jailed {
        // A jailer needs rights to begin with; what it executes keeps none, and can gain none.
        controls.push(Control::exact("vmm.capabilities.bounding", bounding(), field("CapBnd")));
    }
    let user = plan.user.to_string();
    controls.push(Control::exact("vmm.user", [user.as_str(); 4].join(" "), words_of(field("Uid"))));
    let words = if plan.jailed { without_the_jailers(&words, plan) } else { words };
    controls.push(Control::exact("vmm.command_line", plan.argv().join(" "), words.join(" ")));
    controls
}

/// The words of a jailed VMM without those that its jailer adds.
fn without_the_jailers<'a>(words: &[&'a str], plan: &VmPlan) -> Vec<&'a str> {
    let (mut rest, mut words) = (Vec::new(), words.iter().copied().peekable());
    while let Some(word) = words.next() {
        let is_value = |value: &&str| {
            if word == "--id" {
                *value == plan.name.as_str()
            } else {
                value.bytes().all(|byte| byte.is_ascii_digit())
            }
        };
        if plan.vmm == VmmKind::Firecracker
            && OF_THE_JAILER.contains(&word)
            && words.next_if(is_value).is_some()
        {
            continue;
        }
        rest.push(word);
    }
    rest
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

fn words_of(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
