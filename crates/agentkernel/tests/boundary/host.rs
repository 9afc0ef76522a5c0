//! What the host sees of a sandbox, by other means than the product's own.

use std::fs;

use agentkernel_core::Sandbox;
use agentkernel_oci::{Init, Record, RuntimeDir, find};

/// The record of a live sandbox.
pub fn record(runtime: &RuntimeDir, sandbox: &dyn Sandbox) -> Record {
    find(runtime, sandbox.name()).expect("a live sandbox has a record")
}

/// Its first process.
pub fn init_of(record: &Record) -> Init {
    record.init.expect("it has come up")
}

/// A namespace of a process, by the kernel's name for the kind.
pub fn namespace(pid: i32, kind: &str) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok().map(|link| link.display().to_string())
}

/// Every process of the host.
pub fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc can be listed").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every process in the PID namespace of this one, whatever control group it is in.
pub fn processes_beside(init: i32) -> Vec<i32> {
    let wanted = namespace(init, "pid");
    processes().filter(|pid| wanted.is_some() && namespace(*pid, "pid") == wanted).collect()
}
