//! Makes one Linux container out of a plan, and turns its first process into the guest agent.
//!
//! ```text
//! supervisor                          the container's first process
//!   clone into new namespaces ──────▶   (without root: be root of the new user namespace)
//!                                       enter the control group
//!                                       build the stage, mount, pivot, mask, make read-only
//!                              ◀─ "u" ─ enter a user namespace of its own
//!   write the id maps          ─ "m" ─▶
//!                                       limits, identity, capabilities, filters
//!   end of the channel         ◀──────  execute the guest agent
//! ```
//!
//! Architecture invariants:
//! - All namespaces but the user namespace belong to the namespace of whoever makes the container. A process
//!   that regained every capability inside could still change none of its mounts, names or interfaces.
//! - What is executed is the plan's OCI configuration; whatever is not understood is refused.
//! - The first process can fail at any step; it says where and why, and is waited for.

mod config;
mod identity;
mod idmap;
mod init;
mod loopback;
mod mounts;
mod program;
mod stage;

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use agentkernel_cgroup::GroupDoor;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use serde::{Deserialize, Serialize};

use crate::lock::LockFile;
use crate::plan::{Launch, Plan, Privilege};
use crate::seccomp::SeccompFilters;
use crate::sys::{self, Forked};
use crate::zygote::AgentFile;
use config::{Config, IdMapping, NamespaceKind};
use idmap::IdMaps;

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// During what.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

/// Names the step that an error belongs to.
pub(crate) fn during<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |why| Failure { what: what.to_owned(), why: why.to_string() }
}

/// How long the first process may take until it is the guest agent. It takes about two milliseconds; a folder
/// on a hanging network file system must not keep a supervisor for ever. Less than the host side waits, which so hears why.
const DEADLINE: Duration = Duration::from_secs(18);

/// Longest message between the two sides in bytes; a failure is one line.
const MESSAGE_MAX: usize = 4096;

/// "I am in a user namespace that has no maps yet."
const UNMAPPED: &[u8] = b"u";
/// "Now it has."
const MAPPED: &[u8] = b"m";

/// A container that has been made.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its first process.
    pub(crate) init: i32,
    /// The child of the supervisor whose end follows the container's: the first process itself, or a runtime.
    pub(crate) leader: i32,
    /// What the runtime says, if there is one.
    pub(crate) traces: Option<program::Traces>,
}

/// All that a container is made of.
pub(crate) struct Parts<'a> {
    /// What to make.
    pub(crate) plan: &'a Plan,
    /// The guest agent.
    pub(crate) agent: &'a AgentFile,
    /// None only where a test weakened the sandbox.
    pub(crate) filters: Option<&'a SeccompFilters>,
    /// Becomes the agent's standard input.
    pub(crate) stream: OwnedFd,
    /// Becomes the descriptor by which the agent gets another stream.
    pub(crate) door: OwnedFd,
    /// The control group.
    pub(crate) group: GroupDoor,
    /// A network namespace that was made before, for a container that we make here.
    pub(crate) network: Option<OwnedFd>,
    /// What is reaped if we die.
    pub(crate) locks: &'a mut [LockFile],
}

/// Makes the container. `order` becomes readable or ends when all is to be given up. Only for a process with one
/// thread.
pub(crate) fn create(parts: Parts<'_>, order: BorrowedFd<'_>) -> Result<Running, Failure> {
    match &parts.plan.launch {
        Launch::Embedded => {
            create_here(parts, order).map(|init| Running { init, leader: init, traces: None })
        }
        Launch::Program(launcher) => {
            let launcher = launcher.clone();
            program::create(parts, &launcher, order)
        }
    }
}

/// Makes the container without anybody's help, and returns the PID of the guest agent, which has been executed.
fn create_here(mut parts: Parts<'_>, order: BorrowedFd<'_>) -> Result<i32, Failure> {
    let config = Config::of(parts.plan).map_err(during("read the bundle"))?;
    let maps = IdMaps::prepare(parts.plan).map_err(during("map owners"))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(during("make a channel"))?;
    let mut flags = clone_flags(&config, parts.plan.privilege);
    if let Privilege::Rootless { .. } = parts.plan.privilege {
        parts.network = None; // it would belong to another than the user namespace that is made now
    } else if parts.network.is_some() {
        flags &= !u64::from(libc::CLONE_NEWNET.cast_unsigned());
    }
    let folder = if let GroupDoor::Folder(folder) = &parts.group { Some(folder.as_fd()) } else { None };
    match sys::clone_into(flags, folder).map_err(during("make the namespaces"))? {
        Forked::Child => {
            drop(ours);
            parts.agent.is_written_elsewhere();
            init::run(init::Job { parts, config, maps, channel: theirs })
        }
        Forked::Parent(pid) => {
            let agent = parts.agent;
            drop((theirs, parts));
            // If that is our task, there is time now: the container's root takes longer to build.
            agent.fill();
            let result = accompany(&ours, order, pid, &config);
            if result.is_err() {
                // Its parent alone can reap it, so the number is still its own.
                sys::kill(pid);
                drop(sys::wait_for(pid));
            }
            result.map(|()| pid)
        }
    }
}

/// Whether a plan asks for nothing that is not done here.
#[cfg(test)]
pub(crate) fn understands(plan: &Plan) -> Result<(), String> {
    Config::of(plan).map(drop)
}

/// The user namespace comes last, and is entered by the process itself: see the invariants. Without root
/// another one comes first, in which the caller may make the others at all.
fn clone_flags(config: &Config, privilege: Privilege) -> u64 {
    let flag = |kind| match kind {
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Cgroup | NamespaceKind::User => 0, // once it is in its group; at the end
    };
    let kinds = config.linux.namespaces.iter().map(|namespace| flag(namespace.kind));
    let outer = if matches!(privilege, Privilege::Rootless { .. }) { libc::CLONE_NEWUSER } else { 0 };
    kinds.chain([outer]).map(|flag| u64::from(flag.cast_unsigned())).fold(0, |all, flag| all | flag)
}

/// Does for the first process what it cannot do itself, until it has become the guest agent.
fn accompany(channel: &OwnedFd, order: BorrowedFd<'_>, pid: i32, config: &Config) -> Result<(), Failure> {
    let mut message = [0; MESSAGE_MAX];
    loop {
        let length = hear(channel, order, &mut message)?;
        match &message[..length] {
            // The channel is closed on exec, and by death.
            [] => return if sys::has_ended(pid) { Err(died()) } else { Ok(()) },
            UNMAPPED => {
                let map = |file: &str, maps: &[IdMapping]| {
                    let lines: String = maps.iter().map(|map| map.line()).collect();
                    fs::write(format!("/proc/{pid}/{file}"), lines)
                        .map_err(during(&format!("write {file} of the user namespace")))
                };
                map("uid_map", &config.linux.uid_mappings)?;
                map("gid_map", &config.linux.gid_mappings)?;
                send(channel, MAPPED, SendFlags::NOSIGNAL).map_err(during("answer the container"))?;
            }
            other => {
                let garbled = |why: serde_json::Error| during("start the container")(why);
                return Err(serde_json::from_slice(other).unwrap_or_else(garbled));
            }
        }
    }
}

fn died() -> Failure {
    let why = "it was killed before it could execute the guest agent (is the memory limit below 1 MiB?)";
    during("start the container")(why)
}

fn hear(channel: &OwnedFd, order: BorrowedFd<'_>, message: &mut [u8]) -> Result<usize, Failure> {
    await_word(channel, order)?;
    let heard = last_words_too(|| recv(channel, &mut *message, RecvFlags::empty()));
    let (_, length) = heard.map_err(during("hear from the container"))?;
    Ok(length)
}

/// Receives once more where the other side has ended without reading a word of ours: the kernel tells that once, and before
/// what the other side has said.
fn last_words_too<T>(mut hear: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match hear() {
        Err(rustix::io::Errno::CONNRESET) => hear(),
        heard => heard,
    }
}

/// Waits until there is a word, or the end, on the channel.
fn await_word(channel: &OwnedFd, order: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut fds = [
        PollFd::new(channel, PollFlags::IN),
        PollFd::from_borrowed_fd(order, PollFlags::IN | PollFlags::HUP),
    ];
    let deadline = sys::timespec(DEADLINE);
    loop {
        match poll(&mut fds, Some(&deadline)) {
            Ok(0) => return Err(during("start the container")("it does not come up")),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
            Ok(_) => return Err(during("start the container")("it was given up meanwhile")),
            Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(during("wait for the container")(why)),
        }
    }
}

/// Whether a path is there, as seen from here; a link counts, wherever it leads.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// An error of the system with the path that it is about.
fn at(path: &Path) -> impl FnOnce(rustix::io::Errno) -> io::Error {
    let path = path.display().to_string();
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{path}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_said_is_heard_though_it_left_without_listening() {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a pair");
        send(&ours, b"a word that nobody reads", SendFlags::NOSIGNAL).expect("sent");
        send(&theirs, b"why", SendFlags::NOSIGNAL).expect("sent");
        drop(theirs);
        let (order, _holds) = rustix::pipe::pipe().expect("a pipe");
        let mut message = [0; MESSAGE_MAX];
        let length = hear(&ours, order.as_fd(), &mut message).expect("heard");
        assert_eq!(&message[..length], b"why");
        assert_eq!(hear(&ours, order.as_fd(), &mut message).ok(), Some(0), "and then the end");
    }
}
