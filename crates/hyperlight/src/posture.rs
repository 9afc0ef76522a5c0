//! The posture: what the kernel of the host says of the helper that holds the machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use agentkernel_core::{Control, Error, ErrorKind, Posture, Result};

/// What the helper may hold open: its streams, the machine, and the archive of the root, which has no name.
const OPEN: &[&str] = &["pipe:", "anon_inode:", "/dev/kvm", "/memfd:", "/dev/null"];

/// Reads it, of the helper with this PID, which should have become this user, if any, and whose machine should have so much
/// memory and says that it has.
pub(crate) fn read(pid: u32, user: Option<u32>, wanted_mib: usize, has_mib: usize) -> Result<Posture> {
    let failed = |why: io::Error| {
        Error::new(ErrorKind::ControlRefused, "read the posture", why).on(format!("helper {pid}"))
    };
    let threads = threads(pid).map_err(failed)?;
    let none = "0000000000000000 in each thread".to_owned();
    let open = open_files(pid).map_err(failed)?;
    let count = |kind: &str| open.iter().filter(|link| *link == kind).count();
    let machines = (count("anon_inode:kvm-vm"), count("anon_inode:kvm-vcpu:0"));
    let strange: Vec<_> =
        open.iter().filter(|link| !OPEN.iter().any(|known| link.starts_with(known))).cloned().collect();
    let environment = fs::read(format!("/proc/{pid}/environ")).map_err(failed)?;
    let mut controls = user.map_or_else(Vec::new, |user| withdrawn(pid, user, &threads));
    controls.extend([
        Control::judged(
            "vm.machine",
            "one machine with one processor, by KVM",
            format!("{} with {}", machines.0, machines.1),
            machines == (1, 1),
        ),
        Control::exact("vm.memory", format!("{wanted_mib} MiB"), format!("{has_mib} MiB")),
        Control::exact("helper.files", "none of the host's", told(&strange, "none of the host's")),
        Control::exact("helper.variables", "0 bytes", format!("{} bytes", environment.len())),
        Control::exact("capabilities.effective", none.clone(), of_all(&threads, "CapEff")),
        Control::exact("capabilities.permitted", none, of_all(&threads, "CapPrm")),
        Control::exact("no_new_privs", "1 in each thread", of_all(&threads, "NoNewPrivs")),
        Control::exact("seccomp.mode", "2 in each thread", of_all(&threads, "Seccomp")),
    ]);
    Ok(Posture { controls })
}

/// Of a helper that is another user than we are, in a root that is its own.
fn withdrawn(pid: u32, user: u32, threads: &[String]) -> Vec<Control> {
    let ids = [user.to_string().as_str(); 4].join("\t");
    let listed = fs::read_dir(format!("/proc/{pid}/root")).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
    });
    let listed: Vec<String> = listed.unwrap_or_else(|why: io::Error| vec![why.to_string()]);
    vec![
        Control::exact("helper.user", format!("{ids} in each thread"), of_all(threads, "Uid")),
        Control::exact("helper.group", format!("{ids} in each thread"), of_all(threads, "Gid")),
        Control::exact("helper.groups", " in each thread", of_all(threads, "Groups")),
        Control::exact("helper.root", "empty", told(&listed, "empty")),
    ]
}

/// What each thread's status has in this field, if it is the same in all of them.
fn of_all(threads: &[String], field: &str) -> String {
    let values: BTreeSet<&str> = threads.iter().map(|status| field_of(status, field)).collect();
    let values: Vec<&str> = values.into_iter().collect();
    match values[..] {
        [value] => format!("{value} in each thread"),
        _ => values.join(" and "),
    }
}

fn field_of<'a>(status: &'a str, name: &str) -> &'a str {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or("missing").trim()
}

/// The status of each of its threads.
fn threads(pid: u32) -> io::Result<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.collect::<io::Result<Vec<_>>>()?;
    // One that ends meanwhile is none.
    Ok(tasks.iter().filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect())
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
