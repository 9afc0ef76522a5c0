//! The event loop: one turn waits, serves whoever is ready a bounded amount, and sends what came of it.

mod ending;
mod greeting;
mod holding;
mod last_words;
mod orders;
mod readiness;
mod succession;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use agentkernel_protocol::{Stream as OutputStream, ToHost};

use self::ending::End;
use self::greeting::Identity;
use self::last_words::LastWords;
use self::readiness::Source;
use self::succession::Newcomer;
use crate::door::Door;
use crate::machine::Keeper;
use crate::process::Process;
use crate::spawn::Spawner;
use crate::stream::{Received, Stream};
use crate::sys;
use crate::takeover::TakenOver;

/// Most bytes of one output stream in one turn.
const CHUNK_LEN: usize = 128 * 1024;

/// How long after the greeting it is believed that the sandbox waits to be used: what a command of some milliseconds made
/// the agent forget, it would have to read again at once.
const REST_AFTER_NS: u64 = 50_000_000;

/// Most children that are waited for in one turn: whoever makes orphans without end delays nobody.
const REAPED_MAX: usize = 256;

struct Agent {
    /// Leads to the host, while there is one.
    stream: Stream,
    /// Where another host can come in.
    door: Option<Door>,
    newcomer: Option<Newcomer>,
    /// What the first host's greeting has made of the agent.
    identity: Option<Identity>,
    last_words: LastWords,
    children: OwnedFd,
    spawner: Spawner,
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
    /// Who renews the machine.
    keeper: Option<Keeper>,
    /// Where the host calls again when the machine was kept.
    listener: Option<OwnedFd>,
    /// Whether programs are told by us that their terminal has another size.
    tells_size: bool,
    /// When the code of the start is let go of.
    rests_ns: Option<u64>,
}

/// Serves the host until it has had enough; returns the exit code.
pub fn run(taken: TakenOver, started_ns: u64) -> i32 {
    let mut agent = Agent {
        stream: taken.stream,
        door: taken.door,
        newcomer: None,
        identity: None,
        last_words: LastWords::default(),
        children: taken.children,
        spawner: Spawner::new(taken.descriptors, taken.lends_memory, taken.group),
        processes: BTreeMap::new(),
        last_channel: 0,
        first_served: 0,
        chunk: Vec::new(),
        unreaped: false,
        busy: false,
        tells_size: taken.tells_size,
        rests_ns: None,
        keeper: taken.keeper,
        listener: taken.listener,
    };
    let mut result = agent.greet(started_ns);
    while result.is_ok() {
        result = agent.turn();
    }
    agent.end(result.err().unwrap_or(End::Asked))
}

impl Agent {
    fn turn(&mut self) -> Result<(), End> {
        let deadlines = self.processes.values().filter_map(Process::next_deadline_ns);
        let due_ns = deadlines.chain(self.newcomer_due_ns()).chain(self.rests_ns).min();
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
        self.flush()?;
        if !self.stream.is_open() && !self.expects_another() {
            return Err(End::Asked);
        }
        if self.busy && self.processes.is_empty() && self.stream.output().is_none() {
            self.rest();
        }
        Ok(())
    }

    /// Sends as much as the host takes.
    fn flush(&mut self) -> Result<(), End> {
        self.stream.flush().or_else(|_| self.lose_host())
    }

    /// Gives back what is not needed while nothing runs.
    fn rest(&mut self) {
        self.busy = false;
        self.chunk = Vec::new();
        self.stream.shrink();
        sys::return_freed_memory();
    }

    fn serve(&mut self, source: Source) -> Result<(), End> {
        match source {
            Source::FromHost => return self.hear(),
            Source::Newcomer => return self.hear_newcomer(),
            Source::Door => self.answer_door(),
            Source::ToHost => self.stream.unblock(),
            Source::Children => {
                sys::drain_signals(&self.children);
                self.reap();
            }
            Source::Pressure => {
                if let Some(group) = self.spawner.group() {
                    group.relieve();
                }
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
            // A host that is killed may cut a frame in two: a breach only where it could not be killed alone.
            Ok(Received::End) if !self.stream.is_between_frames() && !self.expects_another() => {
                return Err(End::violation("the stream ends within a frame"));
            }
            Ok(Received::End) | Err(_) => return self.lose_host(),
        }
        self.obey_received()
    }

    /// Hears from a child whether its program runs.
    fn hear_status(&mut self, channel: u32) {
        let Some(process) = self.processes.get_mut(&channel) else { return };
        match process.starts() {
            None => {}
            Some(Ok(pid)) => {
                self.spawner.is_on_its_own(pid.cast_signed());
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
        if process.output(stream).is_done() {
            return Ok(()); // it has ended meanwhile, and had nothing more to say
        }
        if self.chunk.is_empty() {
            self.chunk = vec![0; CHUNK_LEN];
        }
        match process.output(stream).read(&mut self.chunk) {
            0 => Ok(()),
            len => {
                let sent = self.stream.send_output(channel, stream, &self.chunk[..len]);
                sent.or_else(|_| self.lose_host())
            }
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
            self.spawner.is_on_its_own(reaped.pid);
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
        self.lose_patience(now_ns);
        if self.rests_ns.is_some_and(|rests_ns| rests_ns <= now_ns) {
            self.rests_ns = None;
            sys::forget_code();
        }
    }

    /// Gives the credit that is due, and says the last word on who has nothing more to say: both only to
    /// a host.
    fn settle(&mut self) {
        if !self.stream.is_open() {
            return;
        }
        let (stream, last_words) = (&mut self.stream, &mut self.last_words);
        self.processes.retain(|channel, process| {
            if let Some(bytes) = process.stdin.take_credit() {
                stream.send(*channel, &ToHost::StdinCredit(bytes));
            }
            let Some(exited) = process.last_word() else { return true };
            if !process.is_worker() {
                last_words.remember(process.survivor(*channel));
            }
            stream.send(*channel, &ToHost::Exited(exited));
            false
        });
    }
}
