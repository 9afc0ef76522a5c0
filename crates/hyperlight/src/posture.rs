//! The posture: what the kernel of the host says of the helper that holds the machine.

use std::fs;
use std::io;

use agentkernel_core::{Control, Error, ErrorKind, Posture, Result};

/// What the helper may hold open: its streams, the machine, and the archive of the root, which has no name.
const OPEN: &[&str] = &["pipe:", "anon_inode:", "/dev/kvm", "/memfd:", "/dev/null"];

/// Reads it, of the helper with this PID, whose machine should have so much memory and says that it has.
pub(crate) fn read(pid: u32, wanted_mib: usize, has_mib: usize) -> Result<Posture> {
    let failed = |why: io::Error| {
        Error::new(ErrorKind::ControlRefused, "read the posture", why).on(format!("helper {pid}"))
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(failed)?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or("missing").trim().to_owned()
    };
    let none = "0000000000000000";
    let open = open_files(pid).map_err(failed)?;
    let count = |kind: &str| open.iter().filter(|link| *link == kind).count();
    let machines = (count("anon_inode:kvm-vm"), count("anon_inode:kvm-vcpu:0"));
    let strange: Vec<_> =
        open.iter().filter(|link| !OPEN.iter().any(|known| link.starts_with(known))).cloned().collect();
    let environment = fs::read(format!("/proc/{pid}/environ")).map_err(failed)?;
    Ok(Posture {
        controls: vec![
            Control::judged(
                "vm.machine",
                "one machine with one processor, by KVM",
                format!("{} with {}", machines.0, machines.1),
                machines == (1, 1),
            ),
            Control::exact("vm.memory", format!("{wanted_mib} MiB"), format!("{has_mib} MiB")),
            Control::exact("helper.files", "none of the host's", told(&strange, "none of the host's")),
            Control::exact("helper.variables", "0 bytes", format!("{} bytes", environment.len())),
            Control::exact("capabilities.effective", none, field("CapEff")),
            Control::exact("capabilities.permitted", none, field("CapPrm")),
            Control::exact("no_new_privs", "1", field("NoNewPrivs")),
        ],
    })
}

fn told(list: &[String], none: &str) -> String {
    if list.is_empty() { none.to_owned() } else { list.join(", ") }
}

fn open_files(pid: u32) -> io::Result<Vec<String>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that is gone meanwhile is not open.
        if let Ok(link) = fs::read_link(entry?.path()) {
            links.push(link.to_string_lossy().into_owned());
        }
    }
    Ok(links)
}
