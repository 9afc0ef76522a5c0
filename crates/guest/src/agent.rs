//! The event loop: one turn waits, serves whoever is ready a bounded amount, and sends what came of it.

mod ending;
mod greeting;
mod orders;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use agentkernel_protocol::{Stream as OutputStream, ToHost};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::ending::End;
use crate::process::Process;
use crate::stream::{Received, Stream};
use crate::sys;
use crate::takeover::TakenOver;

/// Most bytes of one output stream in one turn.
const CHUNK_LEN: usize = 128 * 1024;

/// Most children that are waited for in one turn: whoever makes orphans without end delays nobody.
const REAPED_MAX: usize = 256;

/// Who became ready.
#[derive(Debug, Clone, Copy)]
enum Source {
    FromHost,
    ToHost,
    Children,
    Status(u32),
    Input(u32),
    Output(u32, OutputStream),
}

struct Agent {
    stream: Stream,
    children: OwnedFd,
    descriptors: libc::rlimit,
    processes: BTreeMap<u32, Process>,
    /// Highest channel that was opened; the host never uses one twice.
    last_channel: u32,
    /// Channel whose output is served first: the one that had to wait.
    first_served: u32,
    /// Where output passes through.
    chunk: Vec<u8>,
    /// More children may have ended than were waited for in one turn.
    unreaped: bool,
    /// Something has run since memory was last given back.
    busy: bool,
}

/// Serves the host until it has had enough; returns the exit code.
pub fn run(taken: TakenOver, started_ns: u64) -> i32 {
    let mut agent = Agent {
        stream: taken.stream,
        children: taken.children,
        descriptors: taken.descriptors,
        processes: BTreeMap::new(),
        last_channel: 0,
        first_served: 0,
        chunk: Vec::new(),
        unreaped: false,
        busy: false,
    };
    let mut result = agent.greet(started_ns);
    while result.is_ok() {
        result = agent.turn();
    }
    agent.end(result.err().unwrap_or(End::Asked))
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
    fn turn(&mut self) -> Result<(), End> {
        let due_ns = self.processes.values().filter_map(Process::next_deadline_ns).min();
        for source in self.wait(if self.unreaped { Some(0) } else { due_ns }) {
            self.serve(source)?;
        }
        if self.unreaped {
            self.reap();
        }
        if due_ns.is_some_and(|due_ns| due_ns <= sys::monotonic_ns()) {
            self.time_has_come();
        }
        self.settle();
        self.stream.flush().map_err(|_| End::Asked)?;
        if self.busy && self.processes.is_empty() && self.stream.output().is_none() {
            self.rest();
        }
        Ok(())
    }

    /// Gives back what is not needed while nothing runs.
    fn rest(&mut self) {
        self.busy = false;
        self.chunk = Vec::new();
        self.stream.shrink();
        sys::return_freed_memory();
    }

    fn wait(&self, due_ns: Option<u64>) -> Vec<Source> {
        let mut set = PollSet::default();
        set.add(self.stream.output(), PollFlags::OUT, Source::ToHost);
        set.add(Some(self.children.as_fd()), PollFlags::IN, Source::Children);
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
        set.wait(due_ns.map(time_left).as_ref())
    }

    fn serve(&mut self, source: Source) -> Result<(), End> {
        match source {
            Source::FromHost => return self.hear(),
            Source::ToHost => self.stream.unblock(),
            Source::Children => {
                sys::drain_signals(&self.children);
                self.reap();
            }
            Source::Status(channel) => self.hear_status(channel),
            Source::Input(channel) => {
                if let Some(process) = self.processes.get_mut(&channel) {
                    process.stdin.write();
                }
            }
            Source::Output(channel, stream) => return self.pass_output(channel, stream),
        }
        Ok(())
    }

    /// Reads from the host once, and does what it says.
    fn hear(&mut self) -> Result<(), End> {
        match self.stream.receive() {
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::Bytes) => {}
            Ok(Received::End) if !self.stream.is_between_frames() => {
                return Err(End::violation("the stream ends within a frame"));
            }
            Ok(Received::End) | Err(_) => return Err(End::Asked),
        }
        self.obey_received()
    }

    /// Hears from a child whether its program runs.
    fn hear_status(&mut self, channel: u32) {
        let Some(process) = self.processes.get_mut(&channel) else { return };
        match process.starts() {
            None => {}
            Some(Ok(pid)) => {
                self.stream.send(channel, &ToHost::Started(pid));
                process.stdin.write();
            }
            Some(Err(refused)) => {
                self.stream.send(channel, &ToHost::Refused(refused));
                // The child ends by itself, as an orphan that nobody asks for.
                self.processes.remove(&channel);
            }
        }
    }

    /// Passes on one chunk of a process's output.
    fn pass_output(&mut self, channel: u32, stream: OutputStream) -> Result<(), End> {
        if !self.stream.takes_output() {
            self.first_served = channel;
            return Ok(());
        }
        let Some(process) = self.processes.get_mut(&channel) else { return Ok(()) };
        if self.chunk.is_empty() {
            self.chunk = vec![0; CHUNK_LEN];
        }
        match process.output(stream).read(&mut self.chunk) {
            0 => Ok(()),
            len => self.stream.send_output(channel, stream, &self.chunk[..len]).map_err(|_| End::Asked),
        }
    }

    /// Waits for children that have ended, ours and those that lost their parents.
    fn reap(&mut self) {
        self.unreaped = true;
        for _ in 0..REAPED_MAX {
            let sys::Reaping::One(reaped) = sys::reap() else {
                self.unreaped = false;
                return;
            };
            let mut processes = self.processes.iter();
            let found = processes.find(|(_, process)| process.pid() == Some(reaped.pid));
            if let Some(channel) = found.map(|(channel, _)| *channel) {
                self.hear_end(channel, &reaped);
            }
        }
    }

    fn hear_end(&mut self, channel: u32, reaped: &sys::Reaped) {
        self.hear_status(channel);
        if let Some(process) = self.processes.get_mut(&channel) {
            process.end(reaped.status, reaped.usage, sys::monotonic_ns());
        }
    }

    fn time_has_come(&mut self) {
        self.reap(); // who has ended in time was not too late
        let now_ns = sys::monotonic_ns();
        for process in self.processes.values_mut() {
            process.time_has_come(now_ns);
        }
    }

    /// Gives the credit that is due, and says the last word on who has nothing more to say.
    fn settle(&mut self) {
        let stream = &mut self.stream;
        self.processes.retain(|channel, process| {
            if let Some(bytes) = process.stdin.take_credit() {
                stream.send(*channel, &ToHost::StdinCredit(bytes));
            }
            let last_word = process.last_word();
            let stays = last_word.is_none();
            if let Some(exited) = last_word {
                stream.send(*channel, &ToHost::Exited(exited));
            }
            stays
        });
    }
}

fn time_left(until_ns: u64) -> Timespec {
    let left_ns = until_ns.saturating_sub(sys::monotonic_ns());
    // Both parts are far below the limits of their types: a u64 of nanoseconds is 585 years.
    Timespec {
        tv_sec: i64::try_from(left_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(left_ns % 1_000_000_000).unwrap_or(0),
    }
}
