//! One process for each sandbox: brings it up, watches it, takes it down.
//!
//! ```text
//!            build stage          libcontainer create      read limits back      start
//!  forked ──▶ staged ───────────▶ created ───────────────▶ proven ─────────────▶ running
//!     │          │                   │                        │                     │ init died,
//!     └──────────┴───── failed ──────┴────────────────────────┘                     │ deadline,
//!                          │                                                        │ stop or EOF
//!                          ▼                                                        ▼
//!                     report Failed ──────────▶ taken down ◀──────── report Ended / Stopped
//! ```
//!
//! It is forked from the zygote and has one thread. The end of its control socket means that the
//! host side is gone, and that is an order to stop like any other. Everything that it builds lives
//! in its own mount namespace and dies with it; what does not (the control group, the locked
//! records) is removed on every way out, and by the next program's reaper if this process is killed.

mod idmap;
mod init;
mod rootless;
mod stage;
mod views;

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentkernel_core::CauseOfDeath;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::bundle::{ROOTFS, STAGE};
use crate::cgroup::{Group, Hierarchy, enter};
use crate::lock::LockFile;
use crate::plan::{CgroupPlan, Plan, Privilege, SeccompPlan};
use crate::seccomp::SeccompFilters;
use crate::sys;

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
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) agent: Rc<OwnedFd>,
    pub(crate) filters: Rc<SeccompFilters>,
}

/// The order to bring up one sandbox.
pub(crate) struct Order {
    pub(crate) plan: Plan,
    pub(crate) control: UnixStream,
    pub(crate) agent_stream: OwnedFd,
    /// Held while the sandbox lives, removed when it is gone.
    pub(crate) locks: Vec<LockFile>,
}

struct Failure {
    what: &'static str,
    why: String,
}

fn failure(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Failure {
    move |why| Failure { what, why: why.to_string() }
}

/// Runs one sandbox from beginning to end.
pub(crate) fn run(order: Order, tools: &Tools) {
    let Order { plan, mut control, agent_stream, locks } = order;
    let hierarchy = Hierarchy::detect();
    let group = plan.cgroup.as_ref().map(|cgroup| hierarchy.group(&cgroup.path));
    let deadline = plan.lifetime_ms.map(|time| Instant::now() + Duration::from_millis(time));
    let here = views::here().map_err(|why| failure("look at the mount namespace")(&why));
    let result = here.and_then(|outside| {
        let with_hierarchy = group.as_ref().map(|group| (group, &hierarchy));
        let result = bring_up(&plan, agent_stream, with_hierarchy, &outside, tools);
        if group.is_some() {
            // If this fails, the group is not found and not removed, and that is then reported.
            views::go(&outside).ok();
        }
        result
    });
    match result {
        Ok(init) => {
            say(&mut control, &Report::Started { pid: init });
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
            say(&mut control, &Report::Failed { what: failure.what.to_owned(), why });
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
    agent_stream: OwnedFd,
    group: Option<(&Group, &Hierarchy)>,
    outside: &fs::File,
    tools: &Tools,
) -> Result<i32, Failure> {
    let mut door = group.map(|(group, hierarchy)| make_group(plan, group, hierarchy)).transpose()?;
    if let Privilege::Rootless { uid, gid, .. } = plan.privilege {
        rootless::enter_namespaces(uid, gid).map_err(|why| failure("enter a user namespace")(&why))?;
    } else {
        sys::unshare(libc::CLONE_NEWNS).map_err(|why| failure("enter a mount namespace")(&why))?;
    }
    stage::build(plan, Path::new(STAGE)).map_err(|why| failure("build the root folder")(&why))?;
    let entered = door.as_mut().map_or(Ok(()), enter::Door::enter);
    entered.map_err(|why| failure("enter the control group")(&why))?;
    let created = create(plan, agent_stream, tools);
    let left = door.as_mut().map_or(Ok(()), enter::Door::leave);
    let mut container = created?;
    left.map_err(|why| failure("leave the control group")(&why))?;
    if let (Some((group, _)), Some(cgroup)) = (group, &plan.cgroup) {
        // The stage hides the host's control groups.
        let proven = views::during(outside, || prove_limits(group, cgroup));
        let proven = proven.map_err(|why| failure("look at the host again")(&why))?;
        proven.map_err(|why| Failure { what: "prove the limits", why })?;
    }
    let pid = container.pid().ok_or_else(|| failure("create the container")(&"it has no process"))?;
    container.start().map_err(|why| failure("start the container")(&chain(&why)))?;
    Ok(pid.as_raw())
}

fn make_group(plan: &Plan, group: &Group, hierarchy: &Hierarchy) -> Result<enter::Door, Failure> {
    let resources = &plan.config["linux"]["resources"];
    group
        .create(resources)
        .and_then(|()| group.door(hierarchy))
        .map_err(|why| failure("make the control group")(&why))
}

fn create(plan: &Plan, agent_stream: OwnedFd, tools: &Tools) -> Result<Container, Failure> {
    let at = Path::new(STAGE);
    let state = at.join("state");
    let prepare = || -> io::Result<()> {
        fs::write(at.join("config.json"), serde_json::to_vec(&without_cgroup(&plan.config))?)?;
        fs::create_dir(&state)
    };
    prepare().map_err(|why| failure("write the bundle")(&why))?;
    debug_assert!(at.join(ROOTFS).is_dir());
    let filters = match &plan.seccomp {
        SeccompPlan::Full => Some(Rc::clone(&tools.filters)),
        SeccompPlan::Without(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let filters = SeccompFilters::compile_without(&names);
            Some(Rc::new(filters.map_err(|why| failure("compile the weakened filter")(&why))?))
        }
        SeccompPlan::Off => None,
    };
    let executor = init::AgentExecutor { agent: Rc::clone(&tools.agent), filters, privilege: plan.privilege };
    ContainerBuilder::new(plan.name.clone(), SyscallType::default())
        .with_root_path(&state)
        .map(|builder| builder.with_executor(executor).with_stdin(agent_stream))
        .and_then(|builder| builder.as_init(at).with_systemd(false).with_detach(true).build())
        .map_err(|why| failure("create the container")(&chain(&why)))
}

/// The configuration for libcontainer: the container is forked out of its control group already.
fn without_cgroup(config: &serde_json::Value) -> serde_json::Value {
    let mut config = config.clone();
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("cgroupsPath");
        linux.remove("resources");
    }
    config
}

/// An error with all its reasons: libcontainer says the decisive one last.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Compares what was asked for with what the kernel says, while nothing of the user's runs yet.
fn prove_limits(group: &Group, plan: &CgroupPlan) -> Result<(), String> {
    let actual = group.read_back().map_err(|why| why.to_string())?;
    // The kernel keeps memory limits in whole pages.
    let pages = |bytes: Option<u64>| bytes.map(|bytes| bytes / 4096);
    let wrong = |name: &str, asked: Option<u64>, read: Option<u64>| {
        Err(format!("limit '{name}': asked for {asked:?}, the kernel says {read:?}"))
    };
    if pages(plan.memory_bytes) != pages(actual.memory_bytes) {
        return wrong("memory", plan.memory_bytes, actual.memory_bytes);
    }
    if plan.memory_bytes.is_some() && actual.swap_bytes != Some(0) && has_swap() {
        return wrong("swap", Some(0), actual.swap_bytes);
    }
    if plan.cpu_milli != actual.cpu_milli {
        return wrong("cpus", plan.cpu_milli, actual.cpu_milli);
    }
    if plan.pids != actual.pids {
        return wrong("pids", plan.pids, actual.pids);
    }
    Ok(())
}

/// Whether the host has swap space at all.
pub(crate) fn has_swap() -> bool {
    // One line is the heading.
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
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
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            rustix::time::Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
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
