//! New namespaces and entering existing ones.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::sys::{self, Reply, call};

/// ENOSPC: the number of such namespaces is limited to zero. EINVAL: the kernel has no such namespaces.
const REFUSED: &[Errno] = &[libc::ENOSPC, libc::EINVAL];

type Run = fn(&crate::situation::Situation) -> Outcome;

const fn unshare(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Host, what, run).refused(REFUSED)
}

const fn setns(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Host, what, run).refused(&[libc::ENOENT])
}

// The probe enters its own namespaces: Linux demands the same capabilities for them as for any other. Its
// user namespace is not among them, for nobody may enter that twice.
pub const ATTEMPTS: &[Attempt] = &[
    unshare("unshare-user", "new user namespace", |_| new(libc::CLONE_NEWUSER).into()),
    unshare("unshare-mount", "new mount namespace", |_| new(libc::CLONE_NEWNS).into()),
    unshare("unshare-uts", "new uts namespace", |_| new(libc::CLONE_NEWUTS).into()),
    unshare("unshare-ipc", "new ipc namespace", |_| new(libc::CLONE_NEWIPC).into()),
    unshare("unshare-net", "new network namespace", |_| new(libc::CLONE_NEWNET).into()),
    unshare("unshare-pid", "new pid namespace", |_| new(libc::CLONE_NEWPID).into()),
    unshare("unshare-cgroup", "new cgroup namespace", |_| new(libc::CLONE_NEWCGROUP).into()),
    unshare("unshare-time", "new time namespace", |_| new(libc::CLONE_NEWTIME).into()),
    unshare("clone-newuser", "a child in a new user namespace", |_| clone(libc::CLONE_NEWUSER).into()),
    unshare("clone-newns", "a child in a new mount namespace", |_| clone(libc::CLONE_NEWNS).into()),
    unshare("clone-newpid", "a child in a new pid namespace", |_| clone(libc::CLONE_NEWPID).into()),
    unshare("clone-newnet", "a child in a new network namespace", |_| clone(libc::CLONE_NEWNET).into()),
    Attempt::new(
        "clone3",
        Control::Host,
        "clone3, whose flags no filter can read: anything but ENOSYS is OPEN",
        |_| clone3(),
    ),
    setns("setns-mnt", "enter a mount namespace", |_| enter("mnt")),
    setns("setns-uts", "enter a uts namespace", |_| enter("uts")),
    setns("setns-ipc", "enter an ipc namespace", |_| enter("ipc")),
    setns("setns-net", "enter a network namespace", |_| enter("net")),
    setns("setns-pid", "enter a pid namespace", |_| enter("pid")),
    setns("setns-cgroup", "enter a cgroup namespace", |_| enter("cgroup")),
    setns("setns-time", "enter a time namespace", |_| enter("time")),
];

fn new(flag: i32) -> Reply {
    call!(libc::SYS_unshare, flag)
}

fn clone(flag: i32) -> Reply {
    child_of(call!(libc::SYS_clone, flag | libc::SIGCHLD, 0, 0, 0, 0))
}

/// Ends the child, if the call made one, and waits for it.
fn child_of(reply: Reply) -> Reply {
    match reply {
        Ok(0) => sys::exit_now(0),
        Ok(pid) => {
            sys::wait(i32::try_from(pid).unwrap_or(-1), Duration::from_secs(2));
            Ok(pid)
        }
        refused => refused,
    }
}

/// struct clone_args with nothing but the exit signal, at 32.
fn clone3() -> Outcome {
    let mut arguments = [0; 88];
    arguments[32..36].copy_from_slice(&libc::SIGCHLD.to_ne_bytes());
    match child_of(call!(libc::SYS_clone3, &mut arguments, 88)) {
        Err(libc::ENOSYS) => Outcome::blocked(libc::ENOSYS, "clone3 is not there"),
        Err(errno) => Outcome::open(format!("refused with errno {errno} instead of ENOSYS")),
        Ok(pid) => Outcome::open(format!("made process {pid}")),
    }
}

fn enter(kind: &str) -> Outcome {
    let path = format!("/proc/self/ns/{kind}");
    match File::open(&path) {
        Ok(namespace) => call!(libc::SYS_setns, namespace.as_raw_fd(), 0).into(),
        Err(error) => Answer::Err(errno_of(&error)).into(),
    }
}
