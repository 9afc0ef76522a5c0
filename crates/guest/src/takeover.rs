//! Makes the process the agent: its stream, its signals, its privacy.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::pipe;
use rustix::process::{
    DumpableBehavior, Uid, chdir, getpid, set_child_subreaper, set_dumpable_behavior, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin, stdout};

use crate::caller;
use crate::confine::confine;
use crate::door::Door;
use crate::group::Group;
use crate::machine::{self, Keeper};
use crate::stream::Stream;
use crate::sys;

/// Lowest number for the descriptors of the stream and the door: far from those that children use.
const STREAM_FD_MIN: i32 = 64;

/// Where the door is, if there is one: behind the standard streams, or where only they get through, in the place of stdout.
const DOOR_FD: RawFd = 3;
const STDOUT_FD: RawFd = 1;

/// What whoever started it by hand is told.
pub const USAGE: &str = "usage: agentkernel-guest [--stdio] [--door | --door-on-stdout] [--lend-memory] [--tell-size] \
    | await NAME UID FILTERS | pass NAME | report | machine";

/// Everything the agent owns from the start.
pub struct TakenOver {
    /// The stream to the host.
    pub stream: Stream,
    /// Where other hosts come in, if any may.
    pub door: Option<Door>,
    /// Becomes readable when a child has ended.
    pub children: OwnedFd,
    /// The limit of open descriptors that children get.
    pub descriptors: libc::rlimit,
    /// Whether programs start in the agent's own memory.
    pub lends_memory: bool,
    /// Whether programs are told by the agent that their terminal has another size.
    pub tells_size: bool,
    /// The control group of all that the agent starts, where it is not in that itself.
    pub group: Option<Group>,
    /// Who renews the machine, where it is one.
    pub keeper: Option<Keeper>,
    /// Where the host calls again when its machine was kept.
    pub listener: Option<OwnedFd>,
}

/// What a source gives.
struct Opened {
    input: OwnedFd,
    output: OwnedFd,
    group: Option<Group>,
    keeper: Option<Keeper>,
    listener: Option<OwnedFd>,
}

/// Where the stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// Descriptor 0, in both directions: one end of a socket pair.
    Socket,
    /// Descriptors 0 and 1: what a container runtime attaches.
    Stdio,
    /// The first of this user who calls this name, once the filters of this file are installed.
    Caller {
        /// Of an abstract socket.
        name: &'a [u8],
        /// Who may call.
        user: Uid,
        /// See [`confine`].
        filters: &'a Path,
    },
    /// A port of the machine that the initramfs describes, and that is made first.
    Machine,
}

/// What whoever started us has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a> {
    source: Source<'a>,
    /// Where whoever started us has put the door, if there is one.
    door: Option<RawFd>,
    /// A copy of the agent's memory for each command would be dear.
    lends_memory: bool,
    /// The kernel tells nobody of a terminal's new size.
    tells_size: bool,
}

impl<'a> Words<'a> {
    /// Understands it.
    pub fn parse(words: &[&'a [u8]]) -> Result<Self, String> {
        let mut said = Self { source: Source::Socket, door: None, lends_memory: false, tells_size: false };
        if let [b"await", name, user, filters] = words {
            let user = std::str::from_utf8(user).ok().and_then(|user| user.parse().ok()).map(Uid::from_raw);
            let (user, filters) = (user.ok_or(USAGE)?, Path::new(OsStr::from_bytes(filters)));
            return Ok(Self { source: Source::Caller { name, user, filters }, ..said });
        }
        if let [b"machine"] = words {
            return Ok(Self { source: Source::Machine, ..said });
        }
        for word in words {
            match *word {
                b"--stdio" if said.source == Source::Socket => said.source = Source::Stdio,
                b"--door" if said.door.is_none() => said.door = Some(DOOR_FD),
                b"--door-on-stdout" if said.door.is_none() => said.door = Some(STDOUT_FD),
                b"--lend-memory" if !said.lends_memory => said.lends_memory = true,
                b"--tell-size" if !said.tells_size => said.tells_size = true,
                _ => return Err(USAGE.into()),
            }
        }
        if said.source == Source::Stdio && said.door == Some(STDOUT_FD) {
            return Err(USAGE.into()); // that is the stream
        }
        Ok(said)
    }

    /// Whether the host came later than the program.
    pub fn had_to_wait(&self) -> bool {
        matches!(self.source, Source::Caller { .. } | Source::Machine)
    }
}

impl Source<'_> {
    /// The reading and the writing end, and what else there is, moved away from the standard streams.
    fn open(self) -> Result<Opened, String> {
        let no_stream = |error: Errno| format!("no stream: {error}");
        let moved = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, STREAM_FD_MIN).map_err(no_stream);
        let opened = |input: BorrowedFd<'_>, output: BorrowedFd<'_>| {
            Ok(Opened {
                input: moved(input)?,
                output: moved(output)?,
                group: None,
                keeper: None,
                listener: None,
            })
        };
        match self {
            Self::Socket => opened(stdin(), stdin()),
            Self::Stdio => opened(stdin(), stdout()),
            Self::Caller { name, user, filters } => {
                confine(filters).map_err(|error| format!("{}: {error}", filters.display()))?;
                let both = caller::first(name, user).map_err(|error| format!("no caller: {error}"))?;
                opened(both.as_fd(), both.as_fd())
            }
            Self::Machine => {
                let machine = machine::become_machine()?;
                let group =
                    machine.group.map(|group| group.moved(STREAM_FD_MIN)).transpose().map_err(no_stream)?;
                let keeper = machine
                    .keeper
                    .map(|keeper| keeper.moved(STREAM_FD_MIN))
                    .transpose()
                    .map_err(no_stream)?;
                let listener = machine.listener.map(|listener| moved(listener.as_fd())).transpose()?;
                Ok(Opened {
                    group,
                    keeper,
                    listener,
                    ..opened(machine.stream.as_fd(), machine.stream.as_fd())?
                })
            }
        }
    }
}

/// Takes the process over. Nothing runs in the sandbox before.
pub fn take_over(words: Words<'_>) -> Result<TakenOver, String> {
    let Words { source, door, lends_memory, tells_size } = words;
    // First of all: from here on, no process of the same user can read our memory, trace us, or open
    // our descriptors through /proc.
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("prctl(PR_SET_DUMPABLE)"))?;
    let Opened { input, output, group, keeper, listener } = source.open()?;
    let door = door.map(open_door).transpose()?;
    // What a first process says when it fails is heard on the console of its machine, and nowhere else.
    occupy_standard_streams(source != Source::Machine).map_err(failed("standard streams"))?;
    let mut kept = vec![input.as_raw_fd(), output.as_raw_fd()];
    kept.extend(door.as_ref().map(|door| door.wanted().as_raw_fd()));
    kept.extend(group.iter().flat_map(Group::descriptors));
    kept.extend(keeper.as_ref().map(|keeper| keeper.descriptor().as_raw_fd()));
    kept.extend(listener.as_ref().map(AsRawFd::as_raw_fd));
    sys::close_all_but(&mut kept);
    let children = sys::adopt_signals().map_err(|error| format!("signals: {error}"))?;
    if !getpid().is_init() {
        // Orphans come to us anyway where we are init.
        set_child_subreaper(Some(getpid())).map_err(failed("prctl(PR_SET_CHILD_SUBREAPER)"))?;
    }
    umask(Mode::WGRP | Mode::WOTH);
    chdir("/").ok(); // so that no folder is kept busy; where it cannot be, nothing is lost
    let stream = Stream::new(input, output).map_err(failed("stream"))?;
    let descriptors = sys::raise_descriptor_limit();
    Ok(TakenOver { stream, door, children, descriptors, lends_memory, tells_size, group, keeper, listener })
}

/// The door, moved away from where children have their own descriptors.
fn open_door(fd: RawFd) -> Result<Door, String> {
    Door::new(sys::inherited(fd, STREAM_FD_MIN).map_err(|error| format!("door: {error}"))?)
}

/// Puts something harmless at 0, 1 and 2, so that no pipe ever gets these numbers.
fn occupy_standard_streams(with_errors: bool) -> rustix::io::Result<()> {
    let nothing = match open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(null) => null,
        // Before the first mount there may be none; a pipe that nobody writes is as empty.
        Err(_) => pipe()?.0,
    };
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    if with_errors { dup2_stderr(&nothing) } else { Ok(()) }
}
