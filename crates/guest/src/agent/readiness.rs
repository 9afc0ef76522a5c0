//! Who is to be served next.

use std::os::fd::{AsFd, BorrowedFd};

use agentkernel_protocol::Stream as OutputStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Agent;
use crate::door::Door;
use crate::group::Group;
use crate::sys;

/// Who became ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    FromHost,
    Newcomer,
    Door,
    ToHost,
    Children,
    Pressure,
    Status(u32),
    Input(u32),
    Output(u32, OutputStream),
}

/// What to wait for, and on whose behalf.
#[derive(Default)]
struct PollSet<'a> {
    fds: Vec<PollFd<'a>>,
    sources: Vec<Source>,
}

impl<'a> PollSet<'a> {
    fn add(&mut self, fd: Option<BorrowedFd<'a>>, flags: PollFlags, source: Source) {
        if let Some(fd) = fd {
            self.fds.push(PollFd::from_borrowed_fd(fd, flags));
            self.sources.push(source);
        }
    }

    fn wait(mut self, timeout: Option<&Timespec>) -> Vec<Source> {
        if poll(&mut self.fds, timeout).is_err() {
            return Vec::new(); // EINTR: the next turn asks again
        }
        let mut ready = self.fds.iter().map(|fd| !fd.revents().is_empty());
        self.sources.retain(|_| ready.next().unwrap_or(false));
        self.sources
    }
}

impl Agent {
    /// Waits until somebody is ready, in the order in which they shall be served.
    pub(super) fn wait(&self, due_ns: Option<u64>) -> Vec<Source> {
        let mut set = PollSet::default();
        set.add(self.stream.output(), PollFlags::OUT, Source::ToHost);
        set.add(Some(self.children.as_fd()), PollFlags::IN, Source::Children);
        set.add(self.spawner.group().and_then(Group::pressure), PollFlags::PRI, Source::Pressure);
        for (channel, process) in &self.processes {
            set.add(process.status(), PollFlags::IN, Source::Status(*channel));
            set.add(process.wanted_input(), PollFlags::OUT, Source::Input(*channel));
        }
        if self.stream.takes_output() {
            let waiting = self.processes.range(self.first_served..);
            for (channel, process) in waiting.chain(self.processes.range(..self.first_served)) {
                for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                    let source = Source::Output(*channel, stream);
                    set.add(process.wanted_output(stream), PollFlags::IN, source);
                }
            }
        }
        // Last: what the host says must not change who is served in this turn.
        set.add(self.stream.input(), PollFlags::IN, Source::FromHost);
        let newcomer = self.newcomer.as_ref().and_then(|newcomer| newcomer.stream.input());
        set.add(newcomer, PollFlags::IN, Source::Newcomer);
        set.add(self.door.as_ref().map(Door::wanted), PollFlags::IN, Source::Door);
        set.wait(due_ns.map(sys::time_left).as_ref())
    }
}
