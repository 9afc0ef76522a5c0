//! Device nodes: memory, the kernel's log, disks, and everything beyond the few that programs need.

use std::fs::{self, Metadata, OpenOptions};
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::sys::call;
use crate::walk::{Limits, Walked, walk};

/// No such node, or a node without a driver behind it.
const ABSENT: &[Errno] = &[libc::ENOENT, libc::ENXIO, libc::ENODEV];

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("dev-mem", Control::Host, "read physical memory from /dev/mem", |_| read_node("/dev/mem"))
        .refused(ABSENT),
    Attempt::new("dev-port", Control::Host, "read I/O ports from /dev/port", |_| read_node("/dev/port"))
        .refused(ABSENT),
    // EAGAIN: the log may be read and holds nothing new.
    Attempt::new("dev-kmsg", Control::Host, "read the kernel's log from /dev/kmsg", |_| {
        read_node("/dev/kmsg")
    })
    .granted(&[libc::EAGAIN, libc::EPIPE])
    .refused(ABSENT),
    Attempt::new("dev-block", Control::Host, "read a byte of any block device below /dev", |_| {
        block_devices()
    })
    .refused(ABSENT),
    Attempt::new(
        "dev-unexpected",
        Control::Host,
        "find a usable device beyond null, zero, full, random, urandom, tty, ptmx, console and pts (not opened)",
        |_| unexpected_devices(),
    ),
];

/// The nodes that a sandbox needs.
const EXPECTED: &[&str] = &["null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"];

const DEV: Limits = Limits { depth: 8, entries: 20_000 };

fn read_node(path: impl AsRef<Path>) -> Outcome {
    read_byte(path.as_ref()).into()
}

fn read_byte(path: &Path) -> Answer {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = options.open(path).map_err(|error| errno_of(&error))?;
    let mut bytes = vec![0; 8192];
    let count = file.read(&mut bytes).map_err(|error| errno_of(&error))?;
    Ok(format!("{count} bytes read"))
}

fn block_devices() -> Outcome {
    let mut answers = Vec::new();
    let walked = walk(&["/dev"], DEV, |path, metadata| {
        if metadata.file_type().is_block_device() {
            answers.push((path.display().to_string(), read_byte(path)));
        }
        ControlFlow::Continue(())
    });
    match walked {
        Walked::Truncated(seen) if answers.is_empty() => unfinished(seen),
        _ if answers.is_empty() => Outcome::blocked(libc::ENOENT, "no block device below /dev"),
        _ => Outcome::Answers(answers),
    }
}

/// Opening a strange device may do something (a watchdog starts), so that being allowed to is enough.
fn unexpected_devices() -> Outcome {
    let mut found = Vec::new();
    let walked = walk(&["/dev"], DEV, |path, metadata| {
        if is_unexpected(path, metadata) && is_usable(path) {
            found.push((path.display().to_string(), Ok("usable".to_owned())));
        }
        ControlFlow::Continue(())
    });
    match walked {
        Walked::Truncated(seen) if found.is_empty() => unfinished(seen),
        _ if found.is_empty() => Outcome::blocked(0, "only the expected devices are usable"),
        _ => Outcome::Answers(found),
    }
}

fn unfinished(seen: usize) -> Outcome {
    Outcome::error(format!("not all of /dev was seen: {seen} entries"))
}

fn is_unexpected(path: &Path, metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let name = path.strip_prefix("/dev").unwrap_or(path).to_string_lossy();
    is_device && !EXPECTED.contains(&name.as_ref()) && !name.starts_with("pts/")
}

fn is_usable(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()) else { return false };
    let allowed = |mode| call!(libc::SYS_faccessat, libc::AT_FDCWD, path.as_c_str(), mode).is_ok();
    allowed(libc::R_OK) || allowed(libc::W_OK)
}

/// Device nodes through which a virtual machine talks to its host.
pub fn channel_devices() -> Outcome {
    const PREFIXES: &[&str] = &["vport", "virtio-ports", "vsock", "hvc", "ttyS", "ttyAMA"];
    let entries = match fs::read_dir("/dev") {
        Ok(entries) => entries,
        Err(error) => return Answer::Err(errno_of(&error)).into(),
    };
    let is_channel = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let paths = entries.flatten().filter(|entry| is_channel(&entry.file_name().to_string_lossy()));
    let usable = paths.map(|entry| entry.path()).filter(|path| is_usable(path));
    let answers: Vec<_> = usable.map(|path| (path.display().to_string(), Ok("usable".to_owned()))).collect();
    if answers.is_empty() {
        return Outcome::blocked(0, "no device of a host channel is usable");
    }
    Outcome::Answers(answers)
}
