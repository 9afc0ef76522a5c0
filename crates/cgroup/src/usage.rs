//! What a control group uses, and what came of it.

use std::time::Duration;

use agentkernel_core::SandboxUsage;

use crate::group::{Group, INNER};

impl Group {
    /// Processes that the kernel killed in this group for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        let file = match self {
            Self::V1 { .. } => "memory.oom_control",
            Self::V2(_) => "memory.events",
        };
        let kills = |file: &str| {
            let text = self.read("memory", file).unwrap_or_default();
            text.lines()
                .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        match self {
            // Each group counts its own.
            Self::V1 { .. } => kills(file) + kills(&format!("{INNER}/{file}")),
            Self::V2(_) => kills(file),
        }
    }

    /// Most memory that was used at once.
    pub fn memory_peak(&self) -> Option<u64> {
        let file = match self {
            Self::V1 { .. } => "memory.max_usage_in_bytes",
            Self::V2(_) => "memory.peak",
        };
        self.read("memory", file).ok()?.parse().ok()
    }

    /// What it uses now.
    pub fn usage(&self) -> SandboxUsage {
        let number = |controller: &str, file: &str| self.read(controller, file).ok()?.parse::<u64>().ok();
        let (memory, cpu) = match self {
            Self::V1 { .. } => {
                ("memory.usage_in_bytes", number("cpuacct", "cpuacct.usage").map(Duration::from_nanos))
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
}
