//! Writes where nothing may be written: the root file system, and the programs of other processes.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::processes;
use crate::sys;

const READ_ONLY: &[Errno] = &[libc::EROFS, libc::ENOENT, libc::ENOTDIR];

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("write-root", Control::Host, "create a file in /", |_| create_in("/")).refused(READ_ONLY),
    Attempt::new("write-usr", Control::Host, "create a file in /usr", |_| create_in("/usr"))
        .refused(READ_ONLY),
    Attempt::new("write-usr-bin", Control::Host, "create a file in /usr/bin", |_| create_in("/usr/bin"))
        .refused(READ_ONLY),
    Attempt::new("write-etc", Control::Host, "create a file in /etc", |_| create_in("/etc"))
        .refused(READ_ONLY),
    Attempt::new("write-etc-passwd", Control::Host, "open /etc/passwd for writing", |_| {
        open_for_writing(Path::new("/etc/passwd")).into()
    })
    .refused(READ_ONLY),
    Attempt::new("write-dev", Control::Host, "create a file in /dev", |_| create_in("/dev"))
        .refused(READ_ONLY),
    Attempt::new(
        "root-not-read-only",
        Control::Host,
        "find / mounted for writing, whatever the permissions of its files",
        |_| root_not_read_only(),
    ),
    // ETXTBSY: everything was allowed, but just now the program runs (see `open_program`). The runtime's own
    // program was once overwritten so.
    Attempt::new(
        "proc-exe-write",
        Control::Namespaces,
        "open the program of every other visible process for writing, through /proc/*/exe",
        |_| programs(),
    )
    .granted(&[libc::ETXTBSY])
    .refused(&[libc::EROFS, libc::ENOENT, libc::ESRCH]),
];

fn create_in(directory: &str) -> Outcome {
    let path = Path::new(directory).join(format!(".attack-probe-{}", sys::own_pid()));
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(_) => {
            let _leaves_no_trace = fs::remove_file(&path);
            Outcome::open(format!("created {}", path.display()))
        }
        Err(error) => Answer::Err(errno_of(&error)).into(),
    }
}

/// Opens an existing file for writing, and writes nothing: for files of the kernel that is where it refuses.
pub fn open_for_writing(path: &Path) -> Answer {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path).map(|_| "opened for writing".to_owned()).map_err(|error| errno_of(&error))
}

fn root_not_read_only() -> Outcome {
    match sys::mount_flags(c"/") {
        Ok(flags) if flags & libc::ST_RDONLY != 0 => Outcome::blocked(libc::EROFS, "/ is read-only"),
        Ok(flags) => Outcome::open(format!("/ is mounted for writing (flags {flags:#x})")),
        Err(errno) => Outcome::error(format!("statvfs of / failed with errno {errno}")),
    }
}

fn programs() -> Outcome {
    let all = match processes::visible() {
        Ok(all) => all,
        Err(errno) => return Outcome::error(format!("/proc cannot be listed: errno {errno}")),
    };
    // The probe's own file is the tester's, wherever it was put.
    let own = fs::read_link("/proc/self/exe").ok();
    let is_own = |path: &str| own.is_some() && fs::read_link(path).ok() == own;
    let seen = all.iter().filter(|one| !one.is_kernel).map(|one| one.pid);
    // The first process is one that there is, whether it can be seen or not.
    let hidden = all.iter().all(|one| one.pid != 1).then_some(1);
    let paths = seen.chain(hidden).map(|pid| format!("/proc/{pid}/exe"));
    let try_one = |path: String| {
        let answer = open_program(&path);
        (path, answer)
    };
    let answers: Vec<_> = paths.filter(|path| !is_own(path)).map(try_one).collect();
    if answers.is_empty() {
        Outcome::error("no program but the probe runs")
    } else {
        Outcome::Answers(answers)
    }
}

/// The kernel looks whether a program runs before it looks whether its mount is read-only.
fn open_program(path: &str) -> Answer {
    let answer = open_for_writing(Path::new(path));
    let flags = CString::new(path).ok().and_then(|path| sys::mount_flags(&path).ok());
    match (answer, flags) {
        (Err(libc::ETXTBSY), Some(flags)) if flags & libc::ST_RDONLY != 0 => Err(libc::EROFS),
        (answer, _) => answer,
    }
}
