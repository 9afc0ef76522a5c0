//! Has a container runtime of the host make the container.
//!
//! ```text
//! supervisor                           the runtime's process
//!   clone into a mount namespace ──▶     (crun: enter the control group)
//!                                        build the stage, write bundle and agent on it
//!   write down who they are  ──────▶
//!   end of the channel       ◀──────     execute the runtime, with the agent's stream as its standard input
//!   its PID file, on the stage ◀─        make the container
//! ```
//!
//! Everything that the runtime writes is on the stage, in a mount namespace that ends with the runtime and the container:
//! whatever is killed, no state of it is left on the host. The runtime dies with the supervisor, and the container's
//! first process, which the agent sees to itself, with the runtime.

mod traces;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recv, recvmsg, send, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, set_child_subreaper};

use super::idmap::IdMaps;
use super::init::die_with_the_supervisor;
use super::{
    DEADLINE, Failure, GroupDoor, MESSAGE_MAX, Parts, Running, await_word, during, hear, last_words_too,
    stage,
};
use crate::bundle::{ROOTFS, STAGE};
use crate::engine::{AGENT, Launcher};
use crate::lock::LockFile;
use crate::record::{Init, note_makers};
use crate::supervisor::send_with_descriptor;
use crate::sys::{self, Forked};

pub(crate) use traces::Traces;
use traces::{failure, first_process, last_words};

/// All of the runtime's environment.
const ENVIRONMENT: &std::ffi::CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// "It is written down that you make the container."
const NOTED: &[u8] = b"n";

/// How soon is looked again whether a runtime that stays has made the container.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Makes the container and returns when its first process is there. Only for a process with one thread.
pub(super) fn create(
    parts: Parts<'_>,
    launcher: &Launcher,
    order: BorrowedFd<'_>,
) -> Result<Running, Failure> {
    // Whatever a runtime leaves behind is left to us.
    set_child_subreaper(Some(getpid())).map_err(during("become a reaper"))?;
    let maps = IdMaps::prepare(parts.plan).map_err(during("map owners"))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(during("make a channel"))?;
    let (complaints, stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(during("make a pipe"))?;
    fcntl_setfl(&complaints, OFlags::NONBLOCK).map_err(during("make a pipe"))?;
    let folder = if let GroupDoor::Folder(folder) = &parts.group { Some(folder.as_fd()) } else { None };
    let namespace = u64::from(libc::CLONE_NEWNS.cast_unsigned());
    match sys::clone_into(namespace, folder).map_err(during("make a mount namespace"))? {
        Forked::Child => {
            drop((ours, complaints));
            Job { parts, launcher, maps, channel: theirs, stderr }.run()
        }
        Forked::Parent(pid) => {
            drop((theirs, stderr, parts.stream, parts.door, parts.group));
            let made = note(pid, parts.locks, &ours)
                .and_then(|()| accompany(&ours, order, pid, launcher, File::from(complaints)));
            if made.is_err() {
                sys::kill(pid);
                drop(sys::wait_for(pid));
            }
            made
        }
    }
}

/// Writes down who makes the container, for a reaper; only then may the runtime be executed.
fn note(pid: i32, locks: &mut [LockFile], channel: &OwnedFd) -> Result<(), Failure> {
    let makers: Vec<Init> = [getpid().as_raw_pid(), pid].into_iter().filter_map(Init::of).collect();
    note_makers(locks, &makers).map_err(during("write down who makes the container"))?;
    // One that has died says so by the end of the channel.
    send(channel, NOTED, SendFlags::NOSIGNAL).ok();
    Ok(())
}

/// Waits until the runtime has made the container.
fn accompany(
    channel: &OwnedFd,
    order: BorrowedFd<'_>,
    pid: i32,
    launcher: &Launcher,
    complaints: File,
) -> Result<Running, Failure> {
    let mut message = [0; MESSAGE_MAX];
    let stage = hear_of_the_stage(channel, order)?;
    // The end of the channel: the runtime has been executed, or could not be.
    let length = hear(channel, order, &mut message)?;
    if length > 0 {
        return Err(failure(&message[..length]));
    }
    let what = format!("start the container by {}", launcher.engine.program());
    let until = Instant::now() + DEADLINE;
    let end = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let is_told = launcher.engine.leaves() && end.is_some();
    loop {
        let has_ended = sys::has_ended(pid);
        // A runtime that leaves has made the container once it is gone.
        if has_ended == launcher.engine.leaves()
            && let Some(init) = first_process(&stage)
        {
            return Ok(running(pid, init, has_ended, Traces { stage, complaints }));
        }
        if has_ended {
            return Err(during(&what)(last_words(&complaints)));
        }
        if is_given_up(order, end.as_ref(), is_told) {
            return Err(during(&what)("it was given up meanwhile"));
        }
        if Instant::now() > until {
            let words = last_words(&complaints);
            return Err(during(&what)(format!("it does not come to an end; {words}")));
        }
    }
}

/// One that has left has made the container our child.
fn running(runtime: i32, init: i32, has_left: bool, traces: Traces) -> Running {
    if has_left {
        drop(sys::wait_for(runtime));
    }
    let leader = if has_left { init } else { runtime };
    Running { init, leader, traces: Some(traces) }
}

/// The stage, once it is built; it stays as long as somebody holds it, so that what is on it can be read when the runtime
/// has ended.
fn hear_of_the_stage(channel: &OwnedFd, order: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    await_word(channel, order)?;
    let mut message = [0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let heard = last_words_too(|| {
        let mut slices = [io::IoSliceMut::new(&mut message)];
        recvmsg(channel, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    });
    let length = heard.map_err(during("hear from the container"))?.bytes;
    let stage = ancillary.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match (stage, length) {
        (Some(stage), _) => Ok(stage),
        (None, 0) => Err(during("start the container runtime")("it was killed before it was executed")),
        (None, length) => Err(failure(&message[..length])),
    }
}

/// Whether whoever wants the container has gone, or wants it no more. Waits for that or for the runtime's end; not for long,
/// unless that end tells that the container was made: of a runtime that stays it is seen only by looking.
fn is_given_up(order: BorrowedFd<'_>, end: Option<&OwnedFd>, is_told: bool) -> bool {
    let patience = if is_told { DEADLINE } else { LOOK_AGAIN };
    let mut fds = vec![PollFd::from_borrowed_fd(order, PollFlags::IN | PollFlags::HUP)];
    fds.extend(end.map(|end| PollFd::new(end, PollFlags::IN)));
    poll(&mut fds, Some(&sys::timespec(patience))).is_ok() && !fds[0].revents().is_empty()
}

/// What the runtime's process has from its parent.
struct Job<'a> {
    parts: Parts<'a>,
    launcher: &'a Launcher,
    maps: IdMaps,
    channel: OwnedFd,
    stderr: OwnedFd,
}

impl Job<'_> {
    /// Becomes the runtime, or says why not and ends.
    fn run(mut self) -> ! {
        let failure = match self.become_the_runtime() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let message = serde_json::to_vec(&failure).unwrap_or_default();
        // If nobody listens, nobody needs to know.
        send(&self.channel, &message, SendFlags::NOSIGNAL).ok();
        sys::exit_now(1)
    }

    fn become_the_runtime(&mut self) -> Result<std::convert::Infallible, Failure> {
        die_with_the_supervisor()?;
        self.parts.group.enter().map_err(during("enter the control group"))?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(during("make the mounts private"))?;
        hide_the_unified_tree().map_err(during("hide the unified control groups"))?;
        let (uids, gids) = self.parts.plan.privilege.id_maps();
        let owner = (uids.outside, gids.outside);
        stage::build(self.parts.plan, &self.maps, owner, Path::new(STAGE))
            .map_err(during("build the root folder"))?;
        self.write_bundle().map_err(during("write the bundle"))?;
        self.show_stage().map_err(during("show the stage"))?;
        self.standard_streams()?;
        let path =
            CString::new(self.launcher.path.as_os_str().as_bytes()).map_err(during("execute the runtime"))?;
        let words = [self.launcher.engine.program()]
            .into_iter()
            .chain(self.launcher.words.iter().map(String::as_str));
        let words =
            words.map(CString::new).collect::<Result<Vec<_>, _>>().map_err(during("execute the runtime"))?;
        self.await_note()?;
        let what = format!("execute {}", self.launcher.path.display());
        Err(during(&what)(sys::execute_path(&path, &words, ENVIRONMENT)))
    }

    fn write_bundle(&self) -> io::Result<()> {
        let stage = Path::new(STAGE);
        fs::write(stage.join("config.json"), serde_json::to_vec(&self.parts.plan.config)?)?;
        let place = stage.join(ROOTFS).join(AGENT.trim_start_matches('/'));
        // A copy: a runtime executes what has a path.
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o555).open(place)?;
        copy.write_all(agentkernel_link::GUEST)
    }

    /// The end of the channel comes instead if the supervisor is no more.
    fn await_note(&self) -> Result<(), Failure> {
        let mut word = [0; NOTED.len()];
        let heard = recv(&self.channel, &mut word, RecvFlags::empty());
        let (_, length) = heard.map_err(during("hear from the supervisor"))?;
        if word[..length] == *NOTED { Ok(()) } else { Err(during("hear from the supervisor")("it is gone")) }
    }

    fn show_stage(&self) -> io::Result<()> {
        let stage = open(STAGE, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        send_with_descriptor(&self.channel, b"s", &stage)
    }

    /// The agent's stream, nothing, the supervisor's ear, and the agent's door, in the place of nothing where it must be; no
    /// other reaches the runtime. What a runtime would say on the door, nobody reads.
    fn standard_streams(&self) -> Result<(), Failure> {
        let null =
            OpenOptions::new().read(true).write(true).open("/dev/null").map_err(during("open /dev/null"))?;
        let (stream, door) = (self.parts.stream.as_raw_fd(), self.parts.door.as_raw_fd());
        let mut streams = vec![(stream, 0), (door, 1), (self.stderr.as_raw_fd(), 2)];
        if self.launcher.engine.passes_descriptors() {
            streams[1].0 = null.as_raw_fd();
            streams.push((door, 3));
        }
        let first_closed = i32::try_from(streams.len()).unwrap_or(i32::MAX);
        streams
            .into_iter()
            .try_for_each(|(from, to)| sys::copy_descriptor(from, to))
            .and_then(|()| sys::close_on_exec_from(first_closed))
            .map_err(during("arrange the standard streams"))?;
        for signal in [libc::SIGCHLD, libc::SIGPIPE] {
            sys::set_signal(signal, false);
        }
        Ok(())
    }
}

/// crun takes a host with control groups of both kinds for one that it cannot serve, whether or not it is to make any; runc
/// makes a group in both, and only removes its own part of that. Where v1 is in use nobody needs the other tree, so nobody is shown it.
fn hide_the_unified_tree() -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let of_kind = |kind: &'static str| {
        mounts.lines().filter_map(move |line| {
            let mut fields = line.split(' ').skip(1);
            let target = fields.next()?;
            (fields.next() == Some(kind)).then_some(target)
        })
    };
    if of_kind("cgroup").next().is_none() {
        return Ok(());
    }
    for target in of_kind("cgroup2") {
        unmount(target, UnmountFlags::DETACH)?;
    }
    Ok(())
}
