//! More rights than the sandbox's user should have, and ways to get them.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::attempt::{Attempt, Control, Outcome};
use crate::sys::{self, Reply, call};
use crate::walk::{Limits, Walked, walk};

pub const ATTEMPTS: &[Attempt] = &[
    // EINVAL: the user namespace has no such user.
    Attempt::new("setuid-0", Control::Host, "become root", |_| call!(libc::SYS_setuid, 0).into())
        .refused(&[libc::EINVAL]),
    Attempt::new("setresuid-0", Control::Host, "become root, in the saved user only", |_| {
        call!(libc::SYS_setresuid, -1, -1, 0).into()
    })
    .refused(&[libc::EINVAL]),
    Attempt::new("setgid-0", Control::Host, "join root's group", |_| call!(libc::SYS_setgid, 0).into())
        .refused(&[libc::EINVAL]),
    Attempt::new("setgroups", Control::Host, "drop every further group", |_| {
        call!(libc::SYS_setgroups, 0, 0).into()
    }),
    Attempt::new("is-root", Control::Host, "run as user 0 or in group 0", |_| is_root()),
    Attempt::new("capset-raise", Control::Host, "raise each capability", |_| capset_raise()),
    Attempt::new("ambient-raise", Control::Host, "raise an ambient capability", |_| ambient_raise().into()),
    Attempt::new("bounding-drop", Control::Host, "change the bounding set, which needs a capability", |_| {
        call!(libc::SYS_prctl, libc::PR_CAPBSET_DROP, 0, 0, 0, 0).into()
    }),
    Attempt::new("cap-inheritable", Control::Namespaces, "hold inheritable capabilities", |_| {
        capabilities("CapInh:")
    }),
    Attempt::new("cap-permitted", Control::Host, "hold permitted capabilities", |_| capabilities("CapPrm:")),
    Attempt::new("cap-effective", Control::Host, "hold effective capabilities", |_| capabilities("CapEff:")),
    Attempt::new("cap-bounding", Control::Host, "have capabilities in the bounding set", |_| {
        capabilities("CapBnd:")
    }),
    Attempt::new("cap-ambient", Control::Namespaces, "hold ambient capabilities", |_| {
        capabilities("CapAmb:")
    }),
    Attempt::new("no-new-privs-off", Control::Host, "be allowed to gain rights by exec", |_| {
        expect("NoNewPrivs:", no_new_privs(), 1)
    }),
    Attempt::new("seccomp-off", Control::Host, "run without a system call filter", |_| {
        expect("Seccomp:", call!(libc::SYS_prctl, libc::PR_GET_SECCOMP, 0, 0, 0, 0), 2)
    }),
    Attempt::new("setuid-file", Control::Host, "find a program that gives root's rights", |_| setuid_file()),
    Attempt::new(
        "writable-mount-suid",
        Control::Host,
        "find a writable mount (/tmp, /workspace, /dev/shm, /var/tmp) without nosuid",
        |_| mount_without(libc::ST_NOSUID, "nosuid"),
    ),
    Attempt::new(
        "writable-mount-dev",
        Control::Host,
        "find a writable mount (/tmp, /workspace, /dev/shm, /var/tmp) without nodev",
        |_| mount_without(libc::ST_NODEV, "nodev"),
    ),
];

fn is_root() -> Outcome {
    let ids = ["Uid:", "Gid:", "Groups:"].map(|field| (field, status(field)));
    for (field, value) in &ids {
        match value {
            Some(value) if value.split_whitespace().any(|id| id == "0") => {
                return Outcome::open(format!("{field} {value}"));
            }
            Some(_) => {}
            None => return Outcome::error(format!("/proc/self/status has no {field}")),
        }
    }
    Outcome::blocked(0, "neither a user nor a group is 0")
}

/// A field of /proc/self/status.
fn status(field: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
}

fn capabilities(field: &str) -> Outcome {
    let Some(value) = status(field) else {
        return Outcome::error(format!("/proc/self/status has no {field}"));
    };
    match u64::from_str_radix(&value, 16) {
        Ok(0) => Outcome::blocked(0, format!("{field} is empty")),
        Ok(_) => Outcome::open(format!("{field} {value}")),
        Err(error) => Outcome::error(format!("{field} {value}: {error}")),
    }
}

fn no_new_privs() -> Reply {
    call!(libc::SYS_prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
}

/// The kernel's own answer, or, where the call is refused, what /proc/self/status says.
fn expect(field: &str, reply: Reply, safe: i64) -> Outcome {
    let said = reply.ok().or_else(|| status(field)?.parse().ok());
    match said {
        Some(value) if value == safe => Outcome::blocked(0, format!("{field} {value}")),
        Some(value) => Outcome::open(format!("{field} {value} instead of {safe}")),
        None => Outcome::error(format!("nobody says {field}")),
    }
}

/// The version of the structures below: 64 capabilities in two words.
const VERSION: u32 = 0x2008_0522;

/// The last capability that the kernel has today (checkpoint and restore).
const LAST_CAPABILITY: usize = 40;

/// Effective, permitted, inheritable: first the low words of all three, then the high ones.
fn capget() -> Result<[u8; 24], i32> {
    let mut data = [0; 24];
    call!(libc::SYS_capget, &mut header(), &mut data).map(|_| data)
}

fn header() -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&VERSION.to_ne_bytes());
    header
}

/// Sets a capability in the given sets (0 effective, 1 permitted, 2 inheritable).
fn with(mut data: [u8; 24], capability: usize, sets: &[usize]) -> [u8; 24] {
    for set in sets {
        let word = (capability / 32 * 3 + set) * 4;
        let mut value = u32::from_ne_bytes([data[word], data[word + 1], data[word + 2], data[word + 3]]);
        value |= 1 << (capability % 32);
        data[word..word + 4].copy_from_slice(&value.to_ne_bytes());
    }
    data
}

fn capset_raise() -> Outcome {
    let now = match capget() {
        Ok(now) => now,
        Err(errno) => return Outcome::error(format!("capget failed with errno {errno}")),
    };
    let raise = |capability| {
        let reply = call!(libc::SYS_capset, &mut header(), &mut with(now, capability, &[0, 1]));
        (format!("capability {capability}"), crate::attempt::answer(reply))
    };
    Outcome::Answers((0..=LAST_CAPABILITY).map(raise).collect())
}

fn ambient_raise() -> Reply {
    const PR_CAP_AMBIENT_RAISE: i32 = 2;
    // An ambient capability must be inheritable first; what comes of that does not matter.
    let _refused = capget().and_then(|now| call!(libc::SYS_capset, &mut header(), &mut with(now, 0, &[2])));
    call!(libc::SYS_prctl, libc::PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 0, 0)
}

/// Where programs are. Not all of /usr: its libraries may be a hundred thousand files.
const PROGRAMS: &[&str] = &[
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/bin",
    "/sbin",
    "/usr/libexec",
    "/usr/lib",
];

const PROGRAM_TREE: Limits = Limits { depth: 64, entries: 200_000 };

/// Running it proves nothing by itself: it counts when neither its mount nor the process forbids the gain.
fn setuid_file() -> Outcome {
    let mut usable = None;
    let mut inert = 0;
    let walked = walk(PROGRAMS, PROGRAM_TREE, |path, metadata| {
        if metadata.is_file() && metadata.uid() == 0 && metadata.mode() & libc::S_ISUID != 0 {
            if is_nosuid(path) {
                inert += 1;
            } else {
                usable = Some(path.display().to_string());
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    match (usable, no_new_privs(), walked) {
        (Some(path), Ok(0), _) => Outcome::open(format!("{path}, and no_new_privs is off")),
        (Some(path), Ok(_), _) => Outcome::blocked(0, format!("{path} is inert: no_new_privs is on")),
        (Some(path), Err(errno), _) => Outcome::error(format!("{path}; no_new_privs unknown: errno {errno}")),
        (None, Ok(1), _) => Outcome::blocked(0, "no_new_privs is on"),
        (None, _, Walked::All(seen)) => {
            Outcome::blocked(0, format!("{inert} setuid files, all on nosuid mounts, among {seen} entries"))
        }
        (None, _, _) => Outcome::error("not all programs were seen"),
    }
}

fn is_nosuid(path: &Path) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
    let flags = path.ok().and_then(|path| sys::mount_flags(&path).ok());
    flags.is_some_and(|flags| flags & libc::ST_NOSUID != 0)
}

fn mount_without(flag: u64, name: &str) -> Outcome {
    let mut safe = Vec::new();
    for path in [c"/tmp", c"/workspace", c"/dev/shm", c"/var/tmp"] {
        let shown = path.to_string_lossy();
        let is_writable = call!(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::W_OK).is_ok();
        match sys::mount_flags(path) {
            Ok(flags) if is_writable && flags & flag == 0 => {
                return Outcome::open(format!("{shown} is writable and not {name} (flags {flags:#x})"));
            }
            Ok(_) if is_writable => safe.push(shown.into_owned()),
            _ => {}
        }
    }
    Outcome::blocked(0, format!("every writable one is {name}: {}", safe.join(", ")))
}
