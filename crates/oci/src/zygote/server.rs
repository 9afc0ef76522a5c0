//! The zygote's own side.

use std::cell::Cell;
use std::ffi::CStr;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Pid;

use super::agent::AgentFile;
use super::network::make_spare;
use super::{DESCRIPTORS_MAX, ORDER_MAX, Serving, Word};
use crate::lock::LockFile;
use crate::paths::RuntimeDir;
use crate::plan::Launch;
use crate::record;
use crate::seccomp::SeccompFilters;
use crate::supervisor::{self, Order, Tools};
use crate::sys::{self, Forked};

/// Where the zygote keeps its socket.
const SOCKET: i32 = 3;

/// Serves orders until the host side closes the socket, then waits for the supervisors and ends.
/// Only for a process with one thread; never returns.
pub fn serve(socket: OwnedFd) -> ! {
    serve_as(socket, Serving::Many)
}

/// The same in either way.
pub(super) fn serve_as(socket: OwnedFd, serving: Serving) -> ! {
    let host = rustix::process::getppid();
    let code = match detach(socket).and_then(|socket| Ok((socket, tools(serving)?))) {
        Ok((socket, tools)) => answer(&socket, tools, serving, host),
        Err(_) => 1, // the host side sees its first order fail
    };
    sys::exit_now(code)
}

/// Leaves everything that belongs to whoever started the program: terminal, signals, descriptors,
/// environment, working directory, supplementary groups.
fn detach(socket: OwnedFd) -> io::Result<OwnedFd> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let socket = sys::move_descriptor(socket, SOCKET)?;
    for standard in 0..3 {
        sys::copy_descriptor(null.as_raw_fd(), standard)?;
    }
    sys::close_from(SOCKET + 1)?;
    std::mem::forget(null); // closed with all others
    // Ctrl-C and a vanished terminal are the host side's business: it takes the sandboxes down.
    // It fails only for a process that leads a session already.
    rustix::process::setsid().ok();
    // Children are reaped by the kernel; a supervisor restores the default for its own children.
    sys::set_signal(libc::SIGCHLD, true);
    sys::set_signal(libc::SIGPIPE, true);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir("/")?;
    sys::clear_environment();
    if rustix::process::geteuid().is_root() {
        sys::drop_supplementary_groups()?;
    }
    name(c"ak-zygote");
    Ok(socket)
}

fn name(name: &CStr) {
    // A process without its name still works.
    rustix::thread::set_name(name).ok();
}

fn tools(serving: Serving) -> io::Result<Tools> {
    let filters = SeccompFilters::compile().map_err(io::Error::other)?;
    let network = if serving == Serving::OneByOne { make_spare()? } else { None };
    Ok(Tools { agent: AgentFile::new()?, filters, network: Cell::new(network) })
}

/// What has come from the host side.
enum Heard {
    Order(Box<Order>),
    Folder(RuntimeDir),
    Farewell,
    /// The end of the socket.
    End,
}

/// Serves every order. Each supervisor holds the pipe open until its sandbox is gone, or may outlive us.
fn answer(socket: &OwnedFd, mut tools: Tools, serving: Serving, host: Option<Pid>) -> i32 {
    let Ok((mut wait, living)) = io::pipe() else { return 1 };
    let (mut folder, mut bytes, mut rests) = (None, vec![0; ORDER_MAX], true);
    loop {
        rests = rests || goes_to_rest(socket);
        match receive(socket, &mut bytes) {
            Ok(Heard::Folder(told)) => folder = Some(told),
            Ok(Heard::Farewell) => break,
            Ok(Heard::End) => {
                clean_up_after_crash(host, folder.as_ref());
                break;
            }
            Ok(Heard::Order(order)) if serving == Serving::OneByOne => {
                let Ok(ready) = supervise_here(*order, tools, &living) else { return 1 };
                tools = ready;
            }
            // The order's descriptors are closed here: a failed fork is the end of its stream,
            // which the host side takes for what it is.
            Ok(Heard::Order(order)) => {
                let is_used = executes_the_agent(&order);
                if let Ok(Forked::Child) = sys::fork() {
                    drop(wait);
                    supervise(*order, &tools, living.into())
                }
                drop(order);
                if is_used {
                    tools.agent.fill();
                }
                rests = false;
            }
            Err(_) => return 1,
        }
    }
    drop(living);
    // Nothing is ever written: this returns when the last of them has closed it.
    wait.read_to_end(&mut Vec::new()).ok();
    0
}

/// Whether its agent is executed from our file of it; a runtime gets a copy of its own.
fn executes_the_agent(order: &Order) -> bool {
    matches!(order.plan.launch, Launch::Embedded)
}

/// Supervises a sandbox from its beginning to its end. The zygote's socket keeps the number that will be the agent's
/// door until then. Returns the tools for the next one.
fn supervise_here(order: Order, tools: Tools, living: &io::PipeWriter) -> io::Result<Tools> {
    let living = living.try_clone()?.into();
    sys::set_signal(libc::SIGCHLD, false);
    name(c"ak-supervisor");
    let is_used = executes_the_agent(&order);
    supervisor::run(order, &tools, living);
    sys::set_signal(libc::SIGCHLD, true);
    name(c"ak-zygote");
    // The old one is freed while the host side hears of the end.
    if is_used { Ok(Tools { agent: AgentFile::new()?, ..tools }) } else { Ok(tools) }
}

/// What a forked child does, and all that it does.
fn supervise(order: Order, tools: &Tools, living: OwnedFd) -> ! {
    sys::set_signal(libc::SIGCHLD, false);
    name(c"ak-supervisor");
    tools.agent.is_written_elsewhere();
    // The zygote's socket is not ours, but its number must stay taken: it will be the agent's door.
    if sys::copy_descriptor(libc::STDERR_FILENO, SOCKET).is_ok() {
        supervisor::run(order, tools, living);
    }
    sys::exit_now(0)
}

/// How long a process that has closed its socket may take to release its locks and end.
const CRASH_MS: u64 = 2000;

/// Removes what the host side had begun and not yet ordered: without an order no supervisor knows of it. Where it did
/// not work, the next program's reaper will see to it.
fn clean_up_after_crash(host: Option<Pid>, folder: Option<&RuntimeDir>) {
    let Some(folder) = folder else { return };
    // Its files are closed in some order, and all of them before its children get another parent.
    for _millisecond in 0..CRASH_MS {
        if rustix::process::getppid() != host {
            break;
        }
        sys::pause(1);
    }
    drop(record::reap_stale(folder));
}

/// Whether nobody has had a word for it for a while; then it needs its code no more.
fn goes_to_rest(socket: &OwnedFd) -> bool {
    let rests = !comes_within(socket, sys::REST_AFTER);
    if rests {
        sys::forget_code();
    }
    rests
}

/// Whether there is a word, or the end, so soon. An interruption is no silence.
fn comes_within(socket: &OwnedFd, time: Duration) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut fds, Some(&sys::timespec(time))) != Ok(0)
}

/// Hears one word. Only the pages of `bytes` that a word has ever filled are there.
fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<Heard> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [io::IoSliceMut::new(bytes)];
        match recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if message.bytes == 0 {
        return Ok(Heard::End);
    }
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    let (plan, group, locks) = match serde_json::from_slice(&bytes[..message.bytes])? {
        Word::Folder(folder) => return Ok(Heard::Folder(folder)),
        Word::Farewell => return Ok(Heard::Farewell),
        Word::Launch { plan, group, locks } => (*plan, group, locks),
    };
    let mut descriptors = descriptors.into_iter();
    let (Some(control), Some(agent_stream)) = (descriptors.next(), descriptors.next()) else {
        return Err(io::Error::other("an order without descriptors"));
    };
    let locks = locks.into_iter().zip(descriptors).map(|(path, fd)| LockFile::adopt(path, fd));
    let locks = locks.collect::<io::Result<Vec<_>>>()?;
    Ok(Heard::Order(Box::new(Order { plan, group, control: UnixStream::from(control), agent_stream, locks })))
}
