//! The way between agent and host: reaching it from a process that the agent has started.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, answer, errno_of};
use crate::attempts::devices::channel_devices;
use crate::attempts::neighbours::pid_1_is_the_probe;
use crate::attempts::writes::open_for_writing;
use crate::situation::Situation;
use crate::sys::{self, Reply, call};

/// Not visible, or (ENXIO) a socket, which nobody can open by its path.
const REFUSED: &[Errno] = &[libc::ENOENT, libc::ESRCH, libc::ENXIO, libc::EROFS];

type Run = fn(&Situation) -> Outcome;

const fn on_pid_1(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Namespaces, what, run)
}

pub const ATTEMPTS: &[Attempt] = &[
    on_pid_1("pid1-fd-open", "open a descriptor of PID 1 through /proc/1/fd", |situation| {
        pid_1_is_the_probe(situation).unwrap_or_else(open_descriptors)
    })
    .refused(REFUSED),
    on_pid_1("pid1-stdin-write", "open the input of PID 1 for writing", |situation| {
        let open = || open_for_writing(Path::new("/proc/1/fd/0")).into();
        pid_1_is_the_probe(situation).unwrap_or_else(open)
    })
    .refused(REFUSED),
    on_pid_1("pid1-mem-write", "open the memory of PID 1 for writing", |situation| {
        let open = || open_for_writing(Path::new("/proc/1/mem")).into();
        pid_1_is_the_probe(situation).unwrap_or_else(open)
    })
    .refused(REFUSED),
    on_pid_1("ptrace-pid1", "trace PID 1", |situation| {
        let trace = || call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, 1, 0, 0).into();
        pid_1_is_the_probe(situation).unwrap_or_else(trace)
    }),
    // EFAULT: the address, which nobody can map, is looked at after the permission has been checked.
    on_pid_1("process-vm-readv-pid1", "read from the memory of PID 1 (at address 1)", |situation| {
        let copy = || copy_memory(libc::SYS_process_vm_readv).into();
        pid_1_is_the_probe(situation).unwrap_or_else(copy)
    })
    .granted(&[libc::EFAULT]),
    on_pid_1("process-vm-writev-pid1", "write to the memory of PID 1 (at address 1)", |situation| {
        let copy = || copy_memory(libc::SYS_process_vm_writev).into();
        pid_1_is_the_probe(situation).unwrap_or_else(copy)
    })
    .granted(&[libc::EFAULT]),
    // EBADF: the number is looked up after the permission has been checked.
    on_pid_1("pidfd-getfd-pid1", "take a descriptor from PID 1", |situation| {
        pid_1_is_the_probe(situation).unwrap_or_else(take_descriptors)
    })
    .granted(&[libc::EBADF]),
    Attempt::new("fd-sockets", Control::Namespaces, "hold a socket above descriptor 2", inherited_sockets),
    Attempt::new(
        "stdio-kinds",
        Control::Namespaces,
        "have an input or output that is neither pipe, terminal, /dev/null nor closed",
        |_| stdio_kinds(),
    ),
    Attempt::new(
        "channel-devices",
        Control::Host,
        "find a usable device of a virtual machine's channels or consoles (not opened)",
        |_| channel_devices(),
    )
    .refused(&[libc::ENOENT]),
];

fn open_descriptors() -> Outcome {
    let entries = match fs::read_dir("/proc/1/fd") {
        Ok(entries) => entries,
        Err(error) => return Reply::Err(errno_of(&error)).into(),
    };
    let try_one = |path: std::path::PathBuf| {
        // Reading would take what is the agent's: being able to open it is enough.
        (path.display().to_string(), open_only(&path))
    };
    let answers: Vec<_> = entries.flatten().map(|entry| try_one(entry.path())).collect();
    if answers.is_empty() {
        Outcome::blocked(0, "PID 1 has no descriptor")
    } else {
        Outcome::Answers(answers)
    }
}

fn open_only(path: &Path) -> Answer {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path).map(|_| "opened for reading".to_owned()).map_err(|error| errno_of(&error))
}

/// One iovec here, one there at address 1, of one byte.
fn copy_memory(number: i64) -> Reply {
    let mut byte = [0; 1];
    let mut local = [0; 16];
    let address = byte.as_mut_ptr().expose_provenance();
    local[..8].copy_from_slice(&address.to_ne_bytes());
    local[8] = 1;
    let mut remote = [0; 16];
    remote[0] = 1;
    remote[8] = 1;
    call!(number, 1, &mut local, 1, &mut remote, 1, 0)
}

/// How many numbers are tried.
const DESCRIPTORS: i32 = 64;

fn take_descriptors() -> Outcome {
    let process = match call!(libc::SYS_pidfd_open, 1, 0) {
        Ok(process) => process,
        Err(errno) => return Outcome::Answers(vec![("pidfd_open".into(), Err(errno))]),
    };
    let take = |fd: i32| (format!("descriptor {fd}"), answer(call!(libc::SYS_pidfd_getfd, process, fd, 0)));
    Outcome::Answers((0..DESCRIPTORS).map(take).collect())
}

fn kind_of(fd: i32) -> Result<u32, Errno> {
    sys::stat_fd(fd).map(|(mode, _)| mode & libc::S_IFMT)
}

fn inherited_sockets(situation: &Situation) -> Outcome {
    let is_socket = |fd: &&i32| kind_of(**fd) == Ok(libc::S_IFSOCK);
    let sockets: Vec<String> = situation.inherited.iter().filter(is_socket).map(i32::to_string).collect();
    if sockets.is_empty() {
        let count = situation.inherited.len();
        return Outcome::blocked(0, format!("no socket among {count} inherited descriptors"));
    }
    Outcome::open(format!("descriptors {}", sockets.join(", ")))
}

fn stdio_kinds() -> Outcome {
    let kinds = [0, 1, 2].map(|fd| (fd, stdio_kind(fd)));
    let shown = kinds.map(|(fd, (kind, _))| format!("{fd} is a {kind}")).join(", ");
    match kinds.iter().any(|(_, (_, is_safe))| !is_safe) {
        true => Outcome::open(shown),
        false => Outcome::blocked(0, shown),
    }
}

/// What a descriptor is, and whether a process of the sandbox may have it as input or output.
fn stdio_kind(fd: i32) -> (&'static str, bool) {
    let Ok((mode, device)) = sys::stat_fd(fd) else { return ("closed descriptor", true) };
    match mode & libc::S_IFMT {
        libc::S_IFIFO => ("pipe", true),
        libc::S_IFCHR if device == libc::makedev(1, 3) => ("null device", true),
        libc::S_IFCHR if is_terminal(fd) => ("terminal", true),
        libc::S_IFCHR => ("character device", false),
        libc::S_IFSOCK => ("socket", false),
        libc::S_IFREG => ("file", false),
        _ => ("strange thing", false),
    }
}

fn is_terminal(fd: i32) -> bool {
    call!(libc::SYS_ioctl, fd, libc::TCGETS as i64, &mut [0; 64]).is_ok()
}
