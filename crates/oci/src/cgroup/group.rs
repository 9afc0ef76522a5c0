//! One sandbox's control group: what it allows, what it holds, its end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::SandboxUsage;
use rustix::process::{Pid, Signal, kill_process};

use crate::plan::CgroupPlan;
use crate::sys;

/// One sandbox's control group.
#[derive(Debug, Clone)]
pub(crate) enum Group {
    V1(BTreeMap<String, PathBuf>),
    V2(PathBuf),
}

/// What a group allows, as the kernel says it now. `None` is "no limit".
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadBack {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) swap_bytes: Option<u64>,
    pub(crate) cpu_milli: Option<u64>,
    pub(crate) pids: Option<u64>,
}

impl Group {
    pub(super) fn file(&self, controller: &str, name: &str) -> PathBuf {
        match self {
            Self::V1(folders) => folders.get(controller).map(|folder| folder.join(name)).unwrap_or_default(),
            Self::V2(folder) => folder.join(name),
        }
    }

    fn read(&self, controller: &str, name: &str) -> io::Result<String> {
        let path = self.file(controller, name);
        fs::read_to_string(&path)
            .map(|text| text.trim().to_owned())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Reads the limits back.
    pub(crate) fn read_back(&self) -> io::Result<ReadBack> {
        match self {
            Self::V1(_) => self.read_back_v1(),
            Self::V2(_) => Ok(ReadBack {
                memory_bytes: number_or_max(&self.read("memory", "memory.max")?),
                // The file is absent where the kernel has no swap: then there is none to give.
                swap_bytes: self
                    .read("memory", "memory.swap.max")
                    .map_or(Some(0), |text| number_or_max(&text)),
                cpu_milli: cpu_max(&self.read("cpu", "cpu.max")?),
                pids: number_or_max(&self.read("pids", "pids.max")?),
            }),
        }
    }

    fn read_back_v1(&self) -> io::Result<ReadBack> {
        // "No limit" is the largest multiple of the page size that fits an i64.
        let limit = |text: &str| text.parse::<u64>().ok().filter(|bytes| *bytes < u64::MAX / 4);
        let memory_bytes = limit(&self.read("memory", "memory.limit_in_bytes")?);
        let swap_bytes = match self.read("memory", "memory.memsw.limit_in_bytes") {
            Ok(both) => limit(&both).zip(memory_bytes).map(|(both, memory)| both.saturating_sub(memory)),
            Err(_) => Some(0), // swap accounting is off; the plan was refused if there is swap
        };
        let quota: i64 = self.read("cpu", "cpu.cfs_quota_us")?.parse().unwrap_or(-1);
        let period: u64 = self.read("cpu", "cpu.cfs_period_us")?.parse().unwrap_or(100_000);
        Ok(ReadBack {
            memory_bytes,
            swap_bytes,
            cpu_milli: u64::try_from(quota).ok().map(|quota| quota * 1000 / period.max(1)),
            pids: number_or_max(&self.read("pids", "pids.max")?),
        })
    }

    /// Compares what was asked for with what the kernel says.
    pub(crate) fn prove(&self, plan: &CgroupPlan) -> Result<(), String> {
        let actual = self.read_back().map_err(|why| why.to_string())?;
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

    /// Processes that the kernel killed in this group for want of memory.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let file = match self {
            Self::V1(_) => "memory.oom_control",
            Self::V2(_) => "memory.events",
        };
        let text = self.read("memory", file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Most memory that was used at once.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        let file = match self {
            Self::V1(_) => "memory.max_usage_in_bytes",
            Self::V2(_) => "memory.peak",
        };
        self.read("memory", file).ok()?.parse().ok()
    }

    /// Whether a process is in it, in every tree that it has a folder in. One that has ended is in no group.
    pub(crate) fn holds(&self, pid: i32, name: &str) -> bool {
        let text = match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
            Ok(text) => text,
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        };
        if is_exiting(pid) {
            return true; // v1 says "/" then
        }
        // `ID:CONTROLLERS:PATH`; on v2 there are no controllers in it.
        let is_in = |controller: &str| {
            text.lines().any(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let has = parts.next().is_some_and(|list| list.split(',').any(|one| one == controller));
                has && parts.next() == Some(name)
            })
        };
        match self {
            Self::V1(folders) => folders.keys().all(|controller| is_in(controller)),
            Self::V2(_) => is_in(""),
        }
    }

    /// Processes in it now.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let text = self.read("pids", "cgroup.procs").unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Where to write, and what to write for "stop" and "go on".
    fn freezer(&self) -> (PathBuf, [&'static str; 2]) {
        match self {
            Self::V1(_) => (self.file("freezer", "freezer.state"), ["FROZEN", "THAWED"]),
            Self::V2(folder) => (folder.join("cgroup.freeze"), ["1", "0"]),
        }
    }

    /// Whether time stands still for all that is in it.
    pub(crate) fn is_frozen(&self) -> io::Result<bool> {
        match self {
            Self::V1(_) => Ok(self.read("freezer", "freezer.state")? == "FROZEN"),
            Self::V2(_) => Ok(self.read("", "cgroup.events")?.lines().any(|line| line == "frozen 1")),
        }
    }

    /// Stops time for what is in it, or lets it go on; returns when that is so. Bounded: a process deep in the
    /// kernel may take a while to stop.
    ///
    /// On v1 a process that is forked in the wrong moment keeps its group from ever being frozen (the kernel's
    /// freezer-subsystem.rst: "userspace may retry"): the order is given again, and now and then all are let go on first.
    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        const ATTEMPTS: u32 = 1000;
        let (file, [stop, go_on]) = self.freezer();
        for attempt in 1..=ATTEMPTS {
            if frozen && attempt % 20 == 0 {
                fs::write(&file, go_on)?;
                sys::pause(1);
            }
            fs::write(&file, if frozen { stop } else { go_on })?;
            if self.is_frozen()? == frozen {
                return Ok(());
            }
            sys::pause(if attempt < 10 { 1 } else { 5 });
        }
        if frozen {
            fs::write(&file, go_on)?;
        }
        Err(io::Error::other("some of its processes do not stop"))
    }

    /// What it uses now.
    pub(crate) fn usage(&self) -> SandboxUsage {
        let number = |controller: &str, file: &str| self.read(controller, file).ok()?.parse::<u64>().ok();
        let (memory, cpu) = match self {
            Self::V1(_) => {
                ("memory.usage_in_bytes", number("cpu", "cpuacct.usage").map(Duration::from_nanos))
            }
            Self::V2(_) => ("memory.current", self.cpu_time_v2()),
        };
        SandboxUsage {
            memory_bytes: number("memory", memory),
            memory_peak_bytes: self.memory_peak(),
            cpu,
            pids: number("pids", "pids.current"),
        }
    }

    fn cpu_time_v2(&self) -> Option<Duration> {
        let text = self.read("cpu", "cpu.stat").ok()?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
        micros.map(Duration::from_micros)
    }

    /// Kills what is in it, until nothing is. Bounded: a process that a kernel bug keeps alive must
    /// not keep us.
    pub(crate) fn kill_all(&self) -> io::Result<()> {
        // What is frozen does not die; where there is no freezer, nothing is frozen.
        self.freeze(false).ok();
        for _attempt in 0..200 {
            let pids = self.processes();
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids.into_iter().filter_map(Pid::from_raw) {
                // It may have ended meanwhile, and then all is well.
                if kill_process(pid, Signal::KILL) == Err(rustix::io::Errno::PERM) {
                    return Err(io::Error::other(format!("not allowed to kill process {pid:?}")));
                }
            }
            sys::pause(5);
        }
        Err(io::Error::other("its processes do not die"))
    }

    /// Removes the group's folders; those that are gone are no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let folders: Vec<&PathBuf> = match self {
            Self::V1(folders) => folders.values().collect(),
            Self::V2(folder) => vec![folder],
        };
        // Every folder is tried; the first failure is told.
        let results: Vec<_> = folders.into_iter().map(|folder| remove_folder(folder)).collect();
        results.into_iter().collect()
    }

    /// The folders that exist, for messages and leak checks.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::V1(folders) => folders.values().any(|folder| folder.exists()),
            Self::V2(folder) => folder.exists(),
        }
    }
}

/// Whether a process is on its way out or a zombie: `PF_EXITING` in the flags of its stat file, proc(5).
fn is_exiting(pid: i32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let flags =
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// Whether the host has swap space at all.
pub(crate) fn has_swap() -> bool {
    // One line is the heading.
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    for attempt in 0..200 {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The last process has been reaped a moment ago; the kernel lets go of the group next.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < 199 => sys::pause(5),
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
            }
        }
    }
    Ok(())
}

fn number_or_max(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// `QUOTA PERIOD` or `max PERIOD`, in thousandths of a processor.
fn cpu_max(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    Some(quota.parse::<u64>().ok()? * 1000 / period.parse::<u64>().ok()?.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_back_from_a_unified_group() {
        let folder = tempfile::tempdir().expect("temp dir");
        for (name, content) in [
            ("memory.max", "536870912\n"),
            ("memory.swap.max", "0\n"),
            ("cpu.max", "150000 100000\n"),
            ("pids.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n"),
        ] {
            fs::write(folder.path().join(name), content).expect("write");
        }
        let group = Group::V2(folder.path().to_owned());
        let expected = ReadBack {
            memory_bytes: Some(512 << 20),
            swap_bytes: Some(0),
            cpu_milli: Some(1500),
            pids: None,
        };
        assert_eq!(group.read_back().expect("read"), expected);
        assert_eq!(group.out_of_memory_kills(), 2);
    }
}
