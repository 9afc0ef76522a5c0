//! The time between a sandbox's start and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use agentkernel_cgroup::Group;
use agentkernel_core::CauseOfDeath;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::control::{Control, Entrance, Heard, send_with_descriptor};
use super::{Ask, Report};
use crate::container::Running;
use crate::lock::LockFile;
use crate::sys;

/// How often a sandbox without a holder looks whether anybody could still get it back.
const RECORD_CHECK: Duration = Duration::from_secs(5);

/// A running sandbox, seen from its supervisor.
pub(super) struct Watch {
    /// None while nobody holds a sandbox that persists.
    control: Option<Control>,
    running: Running,
    /// The way by which the guest agent gets a new stream.
    door: OwnedFd,
    deadline: Option<Instant>,
    /// Open as long as the zygote must wait for this sandbox.
    living: Option<OwnedFd>,
    /// Where another program comes in; there once the sandbox persists.
    entrance: Option<Entrance>,
    /// Nothing has happened for a while, and the code for the end was let go of.
    rests: bool,
}

/// Who wants something.
enum Awake {
    Agent,
    Control,
    Entrance,
    Deadline,
    /// Nobody; nobody has held the sandbox for a while.
    Nobody,
}

impl Watch {
    pub(super) fn new(
        control: Control,
        running: Running,
        door: OwnedFd,
        deadline: Option<Instant>,
        living: OwnedFd,
    ) -> Self {
        let (control, living) = (Some(control), Some(living));
        Self { control, running, door, deadline, living, entrance: None, rests: false }
    }

    /// Waits for the first of: the agent's end, the deadline, an order to stop. Only the first two are reported.
    pub(super) fn run(&mut self, group: Option<&Group>, locks: &[LockFile]) -> Option<Report> {
        let pidfd =
            Pid::from_raw(self.running.init).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())?;
        loop {
            match self.wait(&pidfd) {
                Ok(None) => {}
                Ok(Some(Awake::Deadline)) => {
                    let detail = "the sandbox's lifetime is over".to_owned();
                    return Some(Report::Ended { cause: CauseOfDeath::Timeout, detail });
                }
                Ok(Some(Awake::Agent)) => return how_it_ended(&self.running, group),
                Ok(Some(Awake::Entrance)) => self.receive_another(),
                // Whoever removes the record, or the home that it is in, gives the sandbox up.
                Ok(Some(Awake::Nobody)) if locks.first().is_none_or(LockFile::is_removed) => return None,
                Ok(Some(Awake::Nobody)) => {}
                Ok(Some(Awake::Control)) => self.hear(locks)?,
                Err(error) => {
                    let detail = format!("cannot watch the sandbox: {error}");
                    return Some(Report::Ended { cause: CauseOfDeath::BoundaryCrashed, detail });
                }
            }
        }
    }

    fn wait(&mut self, pidfd: &OwnedFd) -> io::Result<Option<Awake>> {
        let remaining = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let check = self.control.is_none().then_some(RECORD_CHECK);
        let rest = (!self.rests).then_some(sys::REST_AFTER);
        let timeout = [remaining, check, rest].into_iter().flatten().min();
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
        let mut who = vec![Awake::Agent];
        if let Some(control) = &self.control {
            fds.push(PollFd::new(control, PollFlags::IN | PollFlags::HUP));
            who.push(Awake::Control);
        }
        if let Some(entrance) = &self.entrance {
            fds.push(PollFd::new(entrance, PollFlags::IN));
            who.push(Awake::Entrance);
        }
        match poll(&mut fds, timeout.map(sys::timespec).as_ref()) {
            Ok(0) if timeout == remaining => return Ok(Some(Awake::Deadline)),
            Ok(0) if timeout == rest => {
                self.rests = true;
                sys::forget_code();
                return Ok(None);
            }
            Ok(0) => return Ok(Some(Awake::Nobody)),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().position(|fd| !fd.revents().is_empty());
        Ok(ready.map(|index| who.swap_remove(index)))
    }

    /// Does what the host side says; `None` if all is to be taken down.
    fn hear(&mut self, locks: &[LockFile]) -> Option<()> {
        let heard = self.control.as_mut().map_or(Heard::Gone, Control::hear);
        let Heard::Asked(asks, descriptors) = heard else {
            self.control = None;
            return self.entrance.is_some().then_some(());
        };
        let mut descriptors = descriptors.into_iter();
        for ask in asks {
            let done = match ask {
                Ask::Stop => return None,
                Ask::Persist => self.persist(locks),
                Ask::Lifetime { ms } => {
                    self.deadline = Instant::now().checked_add(Duration::from_millis(ms));
                    Ok(Report::Done)
                }
                Ask::Attach => self.attach(descriptors.next()),
            };
            let answer = done.unwrap_or_else(|why| Report::Refused { why: why.to_string() });
            self.say(Some(&answer));
        }
        Some(())
    }

    fn persist(&mut self, locks: &[LockFile]) -> io::Result<Report> {
        let record = locks.first().ok_or_else(|| io::Error::other("it has no record"))?;
        if self.entrance.is_none() {
            self.entrance = Some(Entrance::open(record.path())?);
        }
        self.living = None;
        Ok(Report::Done)
    }

    fn attach(&self, stream: Option<OwnedFd>) -> io::Result<Report> {
        let stream = stream.ok_or_else(|| io::Error::other("no stream came along"))?;
        send_with_descriptor(&self.door, b"s", &stream)?;
        Ok(Report::Started { pid: self.running.init })
    }

    /// A sandbox has one holder: whoever comes while there is one is told so.
    fn receive_another(&mut self) {
        let Some(mut other) = self.entrance.as_ref().and_then(Entrance::accept) else { return };
        if self.control.is_none() {
            self.control = Some(other);
        } else {
            other.say(&Report::Refused { why: "another program holds it".into() });
        }
    }

    /// Tells whoever holds the sandbox, if anybody does.
    pub(super) fn say(&mut self, report: Option<&Report>) {
        if let (Some(control), Some(report)) = (&mut self.control, report) {
            control.say(report);
        }
    }

    /// Nobody gets the sandbox back from now on.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.entrance.take().map_or(Ok(()), Entrance::close).map_err(|why| format!("the way in: {why}"))
    }
}

/// The agent ends with code 0 when the host side has closed its stream or told it to: an order to
/// stop that came by the other way. Every other end has a cause elsewhere.
///
/// A runtime says how its container ended in the way of shells. It also removes the container's group, so that it is asked
/// first what was killed in it.
fn how_it_ended(running: &Running, group: Option<&Group>) -> Option<Report> {
    let kills = group.map_or(0, Group::out_of_memory_kills);
    if running.leader != running.init && !sys::ends_within(running.leader, super::RUNTIME_END) {
        sys::kill(running.leader);
    }
    let status = sys::wait_for(running.leader).unwrap_or(0);
    let signal = match (libc::WIFSIGNALED(status), libc::WEXITSTATUS(status)) {
        (true, _) => Some(libc::WTERMSIG(status)),
        (false, 0) => return None,
        (false, code) => (running.leader != running.init && code > 128).then_some(code - 128),
    };
    let kills = kills + group.map_or(0, Group::out_of_memory_kills);
    if signal.is_some() && kills > 0 {
        let detail = "the sandbox used all its memory, and the kernel killed it".to_owned();
        return Some(Report::Ended { cause: CauseOfDeath::OutOfMemory, detail });
    }
    let detail = match signal {
        Some(signal) => format!("the guest agent was killed by signal {signal}"),
        None => format!("the guest agent ended with exit code {}", libc::WEXITSTATUS(status)),
    };
    let detail = match running.traces.as_ref().filter(|_| running.leader != running.init) {
        Some(traces) => format!("{detail}; the runtime says: {}", traces.last_words()),
        None => detail,
    };
    Some(Report::Ended { cause: CauseOfDeath::BoundaryCrashed, detail })
}
