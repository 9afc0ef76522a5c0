//! What a control group allows, as the kernel says it now.

use std::io;

use crate::group::Group;
use crate::kernel_file;
use crate::plan::CgroupPlan;

/// What a group allows, as the kernel says it now. `None` is "no limit".
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Swap beside it, in bytes.
    pub swap_bytes: Option<u64>,
    /// Processor time in thousandths of a processor.
    pub cpu_milli: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Group {
    /// Reads the limits back.
    pub fn read_back(&self) -> io::Result<ReadBack> {
        match self {
            Self::V1 { .. } => self.read_back_v1(),
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
            cpu_milli: u64::try_from(quota).ok().map(|quota| milli(quota, period)),
            pids: number_or_max(&self.read("pids", "pids.max")?),
        })
    }

    /// Whether it has rules for devices. On v2 a program in the kernel would judge them, which only root may load
    /// and which says nothing of what it does: there, mounts without devices and the missing right to make any must
    /// do.
    pub fn rules_devices(&self) -> bool {
        matches!(self, Self::V1 { folders, .. } if folders.contains_key("devices"))
    }

    /// The devices that may be used in it, as the kernel lists them; in order.
    pub fn devices(&self) -> io::Result<Vec<String>> {
        let mut lines: Vec<String> =
            self.read("devices", "devices.list")?.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Ok(lines)
    }

    /// Compares what was asked for with what the kernel says.
    pub fn prove(&self, plan: &CgroupPlan) -> Result<(), String> {
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
}

/// Whether the host has swap space at all.
pub fn has_swap() -> bool {
    // One line is the heading.
    kernel_file::read_text("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

fn number_or_max(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// `QUOTA PERIOD` or `max PERIOD`, in thousandths of a processor.
fn cpu_max(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    Some(milli(quota.parse().ok()?, period.parse().ok()?))
}

/// Rounded up: what is a little more than was asked for is more.
fn milli(quota: u64, period: u64) -> u64 {
    (quota * 1000).div_ceil(period.max(1))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
