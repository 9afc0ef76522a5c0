//! The zygote: a process with one thread that forks a supervisor for each sandbox, or is it.
//!
//! A container is cloned without executing, which is safe only in a process with one thread; the host
//! side has an async runtime. So the zygote is made first: forked at the very beginning of `main`
//! (a fifth of a millisecond), or spawned as a program of its own by hosts that have threads already.

mod agent;
mod network;
mod server;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use agentkernel_cgroup::Group;
use agentkernel_process::{Program, Spawned};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use serde::{Deserialize, Serialize};

use crate::lock::LockFile;
use crate::paths::RuntimeDir;
use crate::plan::Plan;
use crate::sys::{self, Forked};

pub(crate) use agent::AgentFile;
pub use server::serve;

/// Longest order in bytes. A plan is about ten thousand; the kernel's default socket buffer holds
/// twenty times that.
const ORDER_MAX: usize = 192 * 1024;

/// Descriptors that an order may carry: control, agent's stream, record, id block.
const DESCRIPTORS_MAX: usize = 4;

/// What the host side says, one packet each.
#[derive(Serialize, Deserialize)]
enum Word {
    /// Whatever it keeps of its sandboxes is here. Said before anything is.
    Folder(RuntimeDir),
    /// An order as it travels; its descriptors travel beside it.
    Launch { plan: Box<Plan>, group: Option<Group>, locks: Vec<PathBuf> },
    /// It ends in good order. An end without this is a crash, and there may be records that nobody else knows of.
    Farewell,
}

/// Who supervises the sandboxes that a zygote is ordered to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    /// A process of its own for each.
    Many,
    /// The zygote, one after the other.
    OneByOne,
}

/// The host side's handle. Dropping it ends the zygote, after every supervisor has cleaned up.
pub struct Zygote {
    socket: Option<OwnedFd>,
    process: Process,
}

enum Process {
    Forked(i32),
    Spawned(Option<Spawned>),
}

impl Zygote {
    /// Forks the zygote off this process, which must still have one thread.
    pub fn fork() -> io::Result<Self> {
        Self::fork_serving(Serving::Many)
    }

    /// The same for a program that never has two sandboxes at a time: it is their supervisor itself, which spares a
    /// process (0.5 ms measured). A second order waits for the end of the first sandbox.
    pub fn fork_for_one() -> io::Result<Self> {
        Self::fork_serving(Serving::OneByOne)
    }

    fn fork_serving(serving: Serving) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        match sys::fork()? {
            Forked::Child => {
                drop(ours);
                server::serve_as(theirs, serving)
            }
            Forked::Parent(pid) => Ok(Self { socket: Some(ours), process: Process::Forked(pid) }),
        }
    }

    /// Spawns the zygote as `program ARGUMENTS`, which must call [`serve`] with its standard input.
    pub fn spawn(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let program = arguments.iter().fold(Program::new(program)?, |program, word| program.argument(word));
        let spawned = program.spawn(theirs)?;
        Ok(Self { socket: Some(ours), process: Process::Spawned(Some(spawned)) })
    }

    /// Orders one sandbox, whose control group goes there. What becomes of it is said on the other end of `control`.
    pub(crate) fn launch(
        &self,
        plan: &Plan,
        group: Option<Group>,
        control: &UnixStream,
        agent_stream: &UnixStream,
        locks: &[&LockFile],
    ) -> io::Result<()> {
        let locked = locks.iter().map(|lock| lock.path().to_owned()).collect();
        let order = Word::Launch { plan: Box::new(plan.clone()), group, locks: locked };
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![control.as_fd(), agent_stream.as_fd()];
        descriptors.extend(locks.iter().map(|lock| lock.as_fd()));
        self.say(&order, &descriptors)
    }

    /// Tells it where the records are that it shall see to if we crash.
    pub(crate) fn keeps_records_in(&self, folder: &RuntimeDir) -> io::Result<()> {
        self.say(&Word::Folder(folder.clone()), &[])
    }

    fn say(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = serde_json::to_vec(word)?;
        if packet.len() > ORDER_MAX {
            return Err(io::Error::other("the description of the sandbox is too long"));
        }
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one order"));
        }
        let socket = self.socket.as_ref().ok_or_else(|| io::Error::other("the zygote is gone"))?;
        sendmsg(socket, &[io::IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    // Each order is one packet: it arrives whole or not at all.
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // A zygote that is gone has nothing to hear.
        self.say(&Word::Farewell, &[]).ok();
        drop(self.socket.take());
        // It ends when its last supervisor has; a failure means that it has been reaped already.
        match &mut self.process {
            Process::Forked(pid) => drop(sys::wait_for(*pid)),
            Process::Spawned(spawned) => drop(spawned.take().map(Spawned::wait)),
        }
    }
}
