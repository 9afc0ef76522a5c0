//! What a control group is to allow.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// 100 ms, the kernel's own default period. Microseconds.
pub const CPU_PERIOD_US: u64 = 100_000;

/// Processor time in each period, microseconds, for so many thousandths of a processor.
#[must_use]
pub fn cpu_quota_us(milli: u64) -> u64 {
    CPU_PERIOD_US * milli / 1000
}

/// A control group and what it must allow, to be read back before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Its path below the hierarchy's root.
    pub path: String,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of a processor.
    pub cpu_milli: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl CgroupPlan {
    /// The same in the words of an OCI configuration's `linux.resources`, on a host with or without swap; what is not limited
    /// is not in it.
    #[must_use]
    pub fn resources(&self, swap: bool) -> Value {
        let mut resources = json!({});
        if let Some(memory) = self.memory_bytes {
            resources["memory"] = json!({"limit": memory});
            if swap {
                // OCI counts memory and swap together: equal means no swap.
                resources["memory"]["swap"] = json!(memory);
            }
        }
        if let Some(milli) = self.cpu_milli {
            resources["cpu"] = json!({"quota": cpu_quota_us(milli), "period": CPU_PERIOD_US});
        }
        if let Some(pids) = self.pids {
            resources["pids"] = json!({"limit": pids});
        }
        resources
    }
}
