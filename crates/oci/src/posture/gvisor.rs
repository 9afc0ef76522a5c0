//! The posture of gVisor: what runs inside is no process of the host, so that the walls to be read are those around the
//! sentry, which is the sandbox's kernel, and around the gofer, which opens files for it.

use std::collections::BTreeSet;
use std::fs;

use agentkernel_core::Control;

use super::process::{self, Thread};
use super::{Expected, mounts, read};
use crate::mountinfo::MountLine;

/// Capabilities that the gofer needs within its own user namespace, to see files as each user inside does: CHOWN,
/// DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SYS_CHROOT.
const GOFER_CAPABILITIES: u64 = 0x4_001f;

/// Those that the sentry of a version without `--directfs` keeps within its own, where nothing is: SYS_CHROOT, SYS_ADMIN.
const SENTRY_CAPABILITIES: u64 = 0x24_0000;

/// The user that the sentry is, where nothing belongs to him.
const NOBODY: u32 = 65_534;

/// Flags without which a sentry is weaker, as it tells them itself.
const FLAGS: [&str; 2] = ["--network=none", "--oci-seccomp=true"];

/// Reads all controls but those of the control group.
pub(super) fn controls(expected: &Expected, init: i32, siblings: &[i32], processes: &[i32]) -> Vec<Control> {
    let words = |pid: i32| read(pid, "cmdline").replace('\0', " ");
    let (gofers, sentries): (Vec<i32>, Vec<i32>) =
        processes.iter().partition(|pid| words(**pid).starts_with("runsc-gofer"));
    let (of_gofer, of_sentry) = (process::threads(&gofers), process::threads(&sentries));
    let all: Vec<&Thread> = of_gofer.iter().chain(&of_sentry).collect();
    let granted = if expected.no_directfs { 0 } else { SENTRY_CAPABILITIES };
    let mut controls = process::namespaces_of(&["user", "mnt", "ipc", "uts", "net"], init, siblings);
    controls.extend([
        Control::judged("gvisor.gofer", "one", gofers.len().to_string(), gofers.len() == 1),
        flags(&words(init)),
        users(expected, &all),
        capabilities("capabilities.sentry", granted, &of_sentry),
        capabilities("capabilities.gofer", GOFER_CAPABILITIES, &of_gofer),
        process::over_all("no_new_privs", "NoNewPrivs", "1", &all),
        process::over_all("seccomp.mode", "Seccomp", "2", &all),
        process::network_is_empty(init),
        sentry_root(init),
    ]);
    // Where there is none, `gvisor.gofer` says so.
    controls.extend(gofers.first().map(|gofer| {
        let mountinfo = read(*gofer, "mountinfo");
        mounts::of_gofer(expected, *gofer, &MountLine::all(&mountinfo))
    }));
    controls
}

fn flags(words: &str) -> Control {
    let said: BTreeSet<&str> = words.split_whitespace().collect();
    let missing: Vec<&str> = FLAGS.into_iter().filter(|flag| !said.contains(flag)).collect();
    let wanted = FLAGS.join(" ");
    let shown = if missing.is_empty() { wanted.clone() } else { format!("without {}", missing.join(" ")) };
    Control::exact("gvisor.flags", wanted, shown)
}

/// Nobody, or one of the sandbox's own block; never a user of the host.
fn users(expected: &Expected, threads: &[&Thread]) -> Control {
    let first: u32 = expected.uid_map.split(' ').nth(1).and_then(|id| id.parse().ok()).unwrap_or(0);
    let is_own = |id: &str| {
        let id: u32 = id.parse().unwrap_or(0);
        id == NOBODY || first > 0 && (first..first + crate::idblock::BLOCK_SIZE).contains(&id)
    };
    let foreign = threads.iter().find(|thread| {
        let ids = format!("{} {}", thread.field("Uid"), thread.field("Gid"));
        !ids.split(' ').all(is_own)
    });
    let wanted = "nobody, or of its own block".to_owned();
    let shown = match foreign {
        Some(thread) => format!("{} (process {})", thread.field("Uid"), thread.pid),
        None if threads.is_empty() => "no process to read".into(),
        None => wanted.clone(),
    };
    Control::exact("user.ids", wanted, shown)
}

fn capabilities(name: &str, granted: u64, threads: &[Thread]) -> Control {
    let set = |thread: &Thread, field: &str| u64::from_str_radix(thread.field(field), 16).unwrap_or(u64::MAX);
    let beyond = threads.iter().find(|thread| {
        ["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().any(|field| set(thread, field) & !granted != 0)
    });
    let wanted = format!("{granted:x} or fewer, in a user namespace of its own");
    let shown = match beyond {
        Some(thread) => format!("{} (process {})", thread.field("CapEff"), thread.pid),
        None if threads.is_empty() => "no process to read".into(),
        None => wanted.clone(),
    };
    Control::exact(name, wanted, shown)
}

/// The sentry sees one file system, which is empty and cannot be written to.
fn sentry_root(init: i32) -> Control {
    let text = read(init, "mountinfo");
    let lines = MountLine::all(&text);
    let names = fs::read_dir(format!("/proc/{init}/root")).map(|entries| entries.flatten().count());
    let is_bare = lines.len() == 1 && lines.iter().all(|line| line.kind == "tmpfs" && line.has("ro"));
    let shown = format!("{} mounts, {} entries", lines.len(), names.as_ref().map_or(0, |names| *names));
    Control::judged("root.sentry", "one empty tmpfs, read-only", shown, is_bare)
}
