//! One process of the host's: what it still has to say, and how far it is.

mod input;
mod output;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use agentkernel_protocol::{Exited, Refused, Signal, Status, Stream, Survivor, Usage, WindowSize};
use rustix::io::{Errno, read};

pub use self::input::{Input, Sink};
pub use self::output::Output;
use crate::spawn::{Failure, Plan, Work};
use crate::{sys, terminal, tree};

/// How long a terminal may still deliver what its ended process wrote, if others keep it open.
const TERMINAL_LINGER_NS: u64 = 1_000_000_000;

/// The agent's ends of everything between it and a child.
pub struct Wiring {
    /// Where the child reports a failure to start; its end means success.
    pub status: OwnedFd,
    /// Where its stdin goes.
    pub stdin: Sink,
    /// Where its stdout, or its terminal, comes from.
    pub stdout: OwnedFd,
    /// Where its stderr comes from, if it has no terminal.
    pub stderr: Option<OwnedFd>,
}

enum Phase {
    /// Forked; whether its program could be executed is not known yet.
    Starting { status: OwnedFd, plan: Rc<Plan> },
    /// Its program runs.
    Running,
    /// Waited for; the last of its output may still be on its way.
    Ended(Exited),
}

/// A process that the host asked for.
pub struct Process {
    /// Its PID, which is also its group's and its session's.
    pid: i32,
    phase: Phase,
    /// What the host sends it.
    pub stdin: Input,
    stdout: Output,
    stderr: Output,
    has_terminal: bool,
    /// It is a part of the agent that does one thing for the host, and no program.
    is_worker: bool,
    started_ns: u64,
    /// When it must be killed.
    deadline_ns: Option<u64>,
    /// Whether it was.
    timed_out: bool,
    /// When an ended process's terminal is no longer listened to.
    linger_until_ns: Option<u64>,
}

impl Process {
    /// A child that was just forked.
    pub fn new(
        pid: i32,
        plan: Rc<Plan>,
        wiring: Wiring,
        window: u32,
        started_ns: u64,
        deadline_ns: Option<u64>,
    ) -> Self {
        Self {
            pid,
            has_terminal: plan.terminal.is_some(),
            is_worker: !matches!(plan.work, Work::Program(_)),
            phase: Phase::Starting { status: wiring.status, plan },
            stdin: Input::new(wiring.stdin),
            stdout: Output::new(Some(wiring.stdout), window),
            stderr: Output::new(wiring.stderr, window),
            started_ns,
            deadline_ns,
            timed_out: false,
            linger_until_ns: None,
        }
    }

    /// Its PID; another process may have it once this one has ended.
    pub fn pid(&self) -> Option<i32> {
        (!matches!(self.phase, Phase::Ended(_))).then_some(self.pid)
    }

    /// Whether its program runs, or has run: nothing is heard of it before.
    pub fn has_started(&self) -> bool {
        !matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether it is a part of the agent that works for the host, and no program.
    pub fn is_worker(&self) -> bool {
        self.is_worker
    }

    /// Where it will report whether it could start, as long as that is open.
    pub fn status(&self) -> Option<BorrowedFd<'_>> {
        match &self.phase {
            Phase::Starting { status, .. } => Some(status.as_fd()),
            _ => None,
        }
    }

    /// Whether its program runs now (with which PID), could not be started, or neither is known.
    pub fn starts(&mut self) -> Option<Result<u32, Refused>> {
        let Phase::Starting { status, plan } = &self.phase else { return None };
        let mut failure = [0; Failure::LEN];
        match read(status, &mut failure) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok(Failure::LEN) => return Some(Err(plan.refusal(Failure::decode(failure)))),
            // Closed by exec, or by a signal; the latter the host will hear from `Exited`.
            _ => self.phase = Phase::Running,
        }
        Some(Ok(self.pid.unsigned_abs()))
    }

    /// One of its output streams.
    pub fn output(&mut self, stream: Stream) -> &mut Output {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// What to wait for in order to read one of its output streams.
    pub fn wanted_output(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            _ if !self.has_started() => None,
            Stream::Stdout => self.stdout.wanted(),
            Stream::Stderr => self.stderr.wanted(),
        }
    }

    /// What to wait for in order to write its stdin. Not before it has started: until then a terminal
    /// has no other end.
    pub fn wanted_input(&self) -> Option<BorrowedFd<'_>> {
        if self.has_started() { self.stdin.wanted() } else { None }
    }

    /// Sends it a signal, if it still exists.
    pub fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid() else { return };
        let number = signal.number.into();
        // In the first moment it has no group yet, and is alone.
        if !(signal.group && sys::kill(-pid, number)) {
            sys::kill(pid, number);
        }
    }

    /// Changes the size of its terminal, if it has one. Where the kernel does not tell who is in its foreground of that, we do.
    pub fn resize(&self, size: WindowSize, is_told_by_us: bool) {
        let (true, Some(master)) = (self.has_terminal, self.stdout.fd()) else { return };
        let is_done = terminal::resize(master, size).is_ok();
        if is_done
            && is_told_by_us
            && let Some(pid) = self.pid()
        {
            // A terminal that does not say who that is has its session's first group.
            sys::kill(-terminal::foreground(master).unwrap_or(pid), libc::SIGWINCH);
        }
    }

    /// It was waited for. What it wrote is still delivered, and nothing that others may add.
    pub fn end(&mut self, status: Status, usage: Usage, now_ns: u64) {
        let usage = Usage { wall_ns: now_ns.saturating_sub(self.started_ns), ..usage };
        // Who ended by itself in the last moment was not killed by us.
        let timed_out = self.timed_out && status == Status::Signal(9);
        self.phase = Phase::Ended(Exited { status, timed_out, usage });
        self.deadline_ns = None;
        self.stdin.close();
        self.stderr.end();
        if self.has_terminal {
            // What was written may not have come through the terminal yet; its hang-up has to tell.
            self.linger_until_ns = Some(now_ns.saturating_add(TERMINAL_LINGER_NS));
        } else {
            self.stdout.end();
        }
    }

    /// Its last word, when everything before it was said.
    pub fn last_word(&self) -> Option<Exited> {
        match &self.phase {
            Phase::Ended(exited) if self.stdout.is_done() && self.stderr.is_done() => Some(exited.clone()),
            _ => None,
        }
    }

    /// The host has taken output.
    pub fn credit(&mut self, stream: Stream, bytes: u32, now_ns: u64) {
        self.output(stream).credit(bytes);
        self.linger_anew(now_ns);
    }

    /// The host is lost. A program goes on; what only works for the host, or has not started, is killed,
    /// and can be forgotten. Says whether it goes on.
    pub fn lose_host(&mut self) -> bool {
        self.stdout.lose_host();
        self.stderr.lose_host();
        let goes_on = self.has_started() && !self.is_worker;
        if !goes_on {
            // Before its pipes are closed, whose end would look like the end of the host's data.
            self.signal(Signal { number: 9, group: true });
        }
        goes_on
    }

    /// Another host has come, and takes what is still to be said.
    pub fn find_host(&mut self, window: u32, now_ns: u64) {
        self.stdin.find_host();
        self.stdout.find_host(window);
        self.stderr.find_host(window);
        self.linger_anew(now_ns);
    }

    /// What another host is told of it.
    pub fn survivor(&self, channel: u32) -> Survivor {
        let ended = self.last_word();
        Survivor {
            channel,
            pid: self.pid.unsigned_abs(),
            has_terminal: self.has_terminal,
            stdin_free: if ended.is_none() { self.stdin.free() } else { None },
            lost_bytes: self.stdout.in_doubt().saturating_add(self.stderr.in_doubt()),
            ended,
        }
    }

    /// A terminal's time runs only while somebody takes what it says.
    fn linger_ns(&self) -> Option<u64> {
        self.linger_until_ns.filter(|_| self.stdout.wanted().is_some())
    }

    fn linger_anew(&mut self, now_ns: u64) {
        if let Some(until_ns) = &mut self.linger_until_ns {
            *until_ns = now_ns.saturating_add(TERMINAL_LINGER_NS);
        }
    }

    /// When [`Process::time_has_come`] must be called next.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        [self.deadline_ns, self.linger_ns()].into_iter().flatten().min()
    }

    /// Does what was due by now.
    pub fn time_has_come(&mut self, now_ns: u64) {
        if self.deadline_ns.is_some_and(|deadline| deadline <= now_ns) {
            self.deadline_ns = None;
            self.timed_out = true;
            tree::kill(self.pid);
        }
        if self.linger_ns().is_some_and(|deadline| deadline <= now_ns) {
            self.linger_until_ns = None;
            self.stdout.end();
        }
    }
}
