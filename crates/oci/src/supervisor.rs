//! One process for each sandbox: brings it up, watches it, takes it down.
//!
//! ```text
//!          make the group, read limits back      make the container
//!  forked ─────────────────────────────▶ limited ────────────────────▶ running
//!     │                                     │                             │ the agent died,
//!     └─────────────── failed ──────────────┘                             │ deadline,
//!                         │                                               │ stop or EOF
//!                         ▼                                               ▼
//!                    report Failed ─────────▶ taken down ◀──── report Ended / Stopped
//! ```
//!
//! It is forked from the zygote and has one thread. The end of its control socket means that the
//! host side is gone, and that is an order to stop like any other. The container's mounts live in its own mount
//! namespace and die with it; what does not (the control group, the locked records) is removed on every way out,
//! and by the next program's reaper if this process is killed.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use agentkernel_core::CauseOfDeath;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Group, Hierarchy};
use crate::container::{self, Failure, Parts, during};
use crate::lock::LockFile;
use crate::plan::{Plan, SeccompPlan};
use crate::seccomp::SeccompFilters;
use crate::sys;
use crate::zygote::AgentFile;

/// What the supervisor tells the host side, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The guest agent's process has been started.
    Started {
        /// Its PID on the host.
        pid: i32,
    },
    /// The sandbox did not come up, and nothing of it is left.
    Failed {
        /// During what.
        what: String,
        /// Why.
        why: String,
    },
    /// The sandbox ended by itself.
    Ended {
        /// The one cause.
        cause: CauseOfDeath,
        /// For a person.
        detail: String,
    },
    /// Nothing is left; the last report.
    Stopped {
        /// Processes killed for want of memory.
        out_of_memory_kills: u64,
        /// Most memory used at once.
        memory_peak_bytes: Option<u64>,
        /// What could not be removed.
        left: Option<String>,
    },
}

/// What the zygote shares with all its supervisors.
pub(crate) struct Tools {
    pub(crate) agent: AgentFile,
    pub(crate) filters: SeccompFilters,
}

/// The order to bring up one sandbox.
pub(crate) struct Order {
    pub(crate) plan: Plan,
    pub(crate) control: UnixStream,
    pub(crate) agent_stream: OwnedFd,
    /// Held while the sandbox lives, removed when it is gone.
    pub(crate) locks: Vec<LockFile>,
}

/// Runs one sandbox from beginning to end.
pub(crate) fn run(order: Order, tools: &Tools) {
    let Order { plan, mut control, agent_stream, locks } = order;
    let hierarchy = Hierarchy::detect();
    let group = plan.cgroup.as_ref().map(|cgroup| hierarchy.group(&cgroup.path));
    let deadline = plan.lifetime_ms.map(|time| Instant::now() + Duration::from_millis(time));
    let result = bring_up(&plan, agent_stream, group.as_ref(), &control, tools);
    match result {
        Ok(init) => {
            say(&mut control, &Report::Started { pid: init });
            sys::forget_code();
            if let Some(report) = watch(&control, init, deadline, group.as_ref()) {
                say(&mut control, &report);
            }
            let stopped = take_down(Some(init), group.as_ref(), locks);
            say(&mut control, &stopped);
        }
        Err(failure) => {
            let stopped = take_down(None, group.as_ref(), locks);
            let mut why = failure.why;
            if let Report::Stopped { left: Some(left), .. } = stopped {
                why += &format!("; and could not clean up: {left}");
            }
            say(&mut control, &Report::Failed { what: failure.what, why });
        }
    }
}

/// Tells the host side. That it is gone is no error: then there is nobody to tell.
fn say(control: &mut UnixStream, report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    drop(control.write_all(&line));
}

fn bring_up(
    plan: &Plan,
    stream: OwnedFd,
    group: Option<&Group>,
    control: &UnixStream,
    tools: &Tools,
) -> Result<i32, Failure> {
    let mut door = container::GroupDoor::None;
    if let (Some(group), Some(cgroup)) = (group, &plan.cgroup) {
        group.create(&plan.config["linux"]["resources"]).map_err(during("make the control group"))?;
        group.prove(cgroup).map_err(during("prove the limits"))?;
        door = group.door().map_err(during("open the control group"))?;
    }
    let weakened = match &plan.seccomp {
        SeccompPlan::Full | SeccompPlan::Off => None,
        SeccompPlan::Without(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let filters = SeccompFilters::compile_without(&names);
            Some(filters.map_err(during("compile the weakened filter"))?)
        }
    };
    let filters = match &plan.seccomp {
        SeccompPlan::Full => Some(&tools.filters),
        SeccompPlan::Without(_) | SeccompPlan::Off => weakened.as_ref(),
    };
    let parts = Parts { plan, agent: &tools.agent, filters, stream, door };
    container::create(parts, control.as_fd())
}

/// Waits for the first of: the agent's end, the deadline, an order to stop. Only the first two are
/// reported.
fn watch(
    control: &UnixStream,
    init: i32,
    deadline: Option<Instant>,
    group: Option<&Group>,
) -> Option<Report> {
    let pidfd = Pid::from_raw(init).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())?;
    loop {
        let timeout =
            deadline.map(|deadline| sys::timespec(deadline.saturating_duration_since(Instant::now())));
        let mut fds =
            [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(control, PollFlags::IN | PollFlags::HUP)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => {
                let detail = "the sandbox's lifetime is over".to_owned();
                return Some(Report::Ended { cause: CauseOfDeath::Timeout, detail });
            }
            Ok(_) if !fds[0].revents().is_empty() => return how_it_ended(init, group),
            // One byte, or the end of the stream: both mean stop.
            Ok(_) => return None,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let detail = format!("cannot watch the sandbox: {error}");
                return Some(Report::Ended { cause: CauseOfDeath::BoundaryCrashed, detail });
            }
        }
    }
}

/// The agent ends with code 0 when the host side has closed its stream or told it to: an order to
/// stop that came by the other way. Every other end has a cause elsewhere.
fn how_it_ended(init: i32, group: Option<&Group>) -> Option<Report> {
    let status = sys::wait_for(init).unwrap_or(0);
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        return None;
    }
    let kills = group.map_or(0, Group::out_of_memory_kills);
    if libc::WIFSIGNALED(status) && kills > 0 {
        let detail = "the sandbox used all its memory, and the kernel killed it".to_owned();
        return Some(Report::Ended { cause: CauseOfDeath::OutOfMemory, detail });
    }
    let detail = if libc::WIFSIGNALED(status) {
        format!("the guest agent was killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("the guest agent ended with exit code {}", libc::WEXITSTATUS(status))
    };
    Some(Report::Ended { cause: CauseOfDeath::BoundaryCrashed, detail })
}

/// Kills everything and removes everything. Every step is tried, whatever the others did.
fn take_down(init: Option<i32>, group: Option<&Group>, locks: Vec<LockFile>) -> Report {
    let mut left = Vec::new();
    if let Some(pid) = init.and_then(Pid::from_raw) {
        // The first process of a PID namespace takes all others with it, and can be waited for only
        // when they are gone. ESRCH: it is gone already.
        kill_process(pid, Signal::KILL).ok();
        drop(sys::wait_for(pid.as_raw_nonzero().get()));
    }
    let (mut out_of_memory_kills, mut memory_peak_bytes) = (0, None);
    if let Some(group) = group {
        out_of_memory_kills = group.out_of_memory_kills();
        memory_peak_bytes = group.memory_peak();
        for result in [group.kill_all(), group.remove()] {
            left.extend(result.err().map(|error| error.to_string()));
        }
    }
    sys::reap_children();
    for lock in locks {
        left.extend(lock.remove().err().map(|error| error.to_string()));
    }
    let left = (!left.is_empty()).then(|| left.join("; "));
    Report::Stopped { out_of_memory_kills, memory_peak_bytes, left }
}
