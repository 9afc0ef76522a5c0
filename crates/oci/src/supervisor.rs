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
//! host side is gone, and that is an order to stop like any other; unless the sandbox was to persist: then another
//! program may come by the socket beside its record, and get it back with a new stream to its agent. The container's mounts live in its own mount
//! namespace and die with it; what does not (the control group, the locked records) is removed on every way out,
//! and by the next program's reaper if this process is killed.

mod control;
mod watch;

use std::cell::Cell;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use agentkernel_cgroup::{Group, GroupDoor};
use agentkernel_core::CauseOfDeath;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use control::Control;
pub(crate) use control::{enter, send_with_descriptor};
use watch::Watch;

use crate::container::{self, Failure, Parts, Running, during};
use crate::lock::LockFile;
use crate::plan::{Launch, Plan, SeccompPlan};
use crate::seccomp::SeccompFilters;
use crate::sys;
use crate::zygote::AgentFile;

/// What the supervisor tells the host side, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The group is made in which a runtime makes that of its container. Not before: nobody can make a group while somebody
    /// waits to move a process.
    Limited,
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
    /// What was asked has been done.
    Done,
    /// What was asked cannot be done, and nothing has changed.
    Refused {
        /// Why.
        why: String,
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

/// What the host side asks of the supervisor of a running sandbox, one JSON object a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Take everything down.
    Stop,
    /// Outlive whoever asks.
    Persist,
    /// Live so long from now on.
    Lifetime {
        /// Milliseconds.
        ms: u64,
    },
    /// Hand the stream that comes along to the guest agent, in the place of one that was lost.
    Attach,
}

/// What the zygote shares with all its supervisors.
pub(crate) struct Tools {
    pub(crate) agent: AgentFile,
    pub(crate) filters: SeccompFilters,
    /// A network namespace in which nobody is yet, for the first sandbox.
    pub(crate) network: Cell<Option<OwnedFd>>,
}

/// The order to bring up one sandbox.
pub(crate) struct Order {
    pub(crate) plan: Plan,
    /// Where its control group is, if it gets one.
    pub(crate) group: Option<Group>,
    pub(crate) control: UnixStream,
    pub(crate) agent_stream: OwnedFd,
    /// Held while the sandbox lives, removed when it is gone.
    pub(crate) locks: Vec<LockFile>,
}

/// Runs one sandbox from beginning to end. `living` is held as long as the program must not leave it behind.
pub(crate) fn run(order: Order, tools: &Tools, living: OwnedFd) {
    let Order { plan, group, control, agent_stream, mut locks } = order;
    let deadline = plan.lifetime_ms.map(|time| Instant::now() + Duration::from_millis(time));
    let mut control = Control::new(control);
    match bring_up(&plan, agent_stream, group.as_ref(), &mut locks, &mut control, tools) {
        Ok((running, door)) => {
            control.say(&Report::Started { pid: running.init });
            let (init, leader) = (running.init, running.leader);
            let mut watch = Watch::new(control, running, door, deadline, living);
            // Said before the end of the agent's stream is seen: whoever sees that asks for the cause.
            let report = watch.run(group.as_ref(), &locks);
            watch.say(report.as_ref());
            let mut left: Vec<String> = watch.close().err().into_iter().collect();
            let stopped = take_down(Some((init, leader)), group.as_ref(), locks, &mut left);
            watch.say(Some(&stopped));
        }
        Err(failure) => {
            let mut left = Vec::new();
            take_down(None, group.as_ref(), locks, &mut left);
            let mut why = failure.why;
            if !left.is_empty() {
                why += &format!("; and could not clean up: {}", left.join("; "));
            }
            control.say(&Report::Failed { what: failure.what, why });
        }
    }
}

fn bring_up(
    plan: &Plan,
    stream: OwnedFd,
    group: Option<&Group>,
    locks: &mut [LockFile],
    control: &mut Control,
    tools: &Tools,
) -> Result<(Running, OwnedFd), Failure> {
    let group_door = make_group(plan, group)?;
    if group.is_some() && makes_group(plan) {
        control.say(&Report::Limited);
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
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(during("make the agent's door"))?;
    let (agent, door, network) = (&tools.agent, theirs, tools.network.take());
    let parts = Parts { plan, agent, filters, stream, door, group: group_door, network, locks };
    let running = container::create(parts, control.as_fd())?;
    if let Some(group) = group.filter(|_| makes_group(plan))
        && let Err(why) = group.deny_what_runtimes_want()
    {
        take_down(Some((running.init, running.leader)), Some(group), Vec::new(), &mut Vec::new());
        return Err(during("limit the devices")(why));
    }
    Ok((running, ours))
}

/// Makes the control group, if there is one, and proves what it allows.
fn make_group(plan: &Plan, group: Option<&Group>) -> Result<GroupDoor, Failure> {
    let (Some(group), Some(cgroup)) = (group, &plan.cgroup) else { return Ok(GroupDoor::None) };
    group.create(plan.resources()).map_err(during("make the control group"))?;
    if makes_group(plan) {
        group.allow_what_runtimes_want().map_err(during("prepare the control group"))?;
    }
    group.prove(cgroup).map_err(during("prove the limits"))?;
    if makes_group(plan) {
        return Ok(GroupDoor::None);
    }
    group.door().map_err(during("open the control group"))
}

/// Whether a runtime makes a group within ours for its container.
fn makes_group(plan: &Plan) -> bool {
    matches!(&plan.launch, Launch::Program(launcher) if launcher.engine.makes_group())
}

/// How long a container runtime may take to tidy up behind its container.
const RUNTIME_END: Duration = Duration::from_secs(5);

/// Kills everything and removes everything, the first process and its leader among it. Every step is tried, whatever the
/// others did.
fn take_down(
    processes: Option<(i32, i32)>,
    group: Option<&Group>,
    locks: Vec<LockFile>,
    left: &mut Vec<String>,
) -> Report {
    if let Some((init, _)) = processes {
        // The first process of a PID namespace takes all others with it, and can be waited for only
        // when they are gone. While they die the rest is done.
        sys::kill(init);
    }
    let (mut out_of_memory_kills, mut memory_peak_bytes) = (0, None);
    if let Some(group) = group {
        // What is frozen dies when it is let go on. If this fails, that which does not end is reported below.
        group.freeze(false).ok();
        out_of_memory_kills = group.out_of_memory_kills();
        memory_peak_bytes = group.memory_peak();
    }
    if let Some((init, leader)) = processes {
        // A runtime first has to see its container die, to remove what it keeps of it.
        if leader != init && !sys::ends_within(leader, RUNTIME_END) {
            sys::kill(leader);
        }
        drop(sys::wait_for(leader));
    }
    if let Some(group) = group {
        for result in [group.kill_all(), group.remove()] {
            left.extend(result.err().map(|error| error.to_string()));
        }
    }
    sys::reap_children();
    // What is left is found by its record: without it nobody would ever try again.
    if left.is_empty() {
        left.extend(locks.into_iter().filter_map(|lock| lock.remove().err()).map(|error| error.to_string()));
    }
    let left = (!left.is_empty()).then(|| left.join("; "));
    Report::Stopped { out_of_memory_kills, memory_peak_bytes, left }
}
