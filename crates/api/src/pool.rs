//! Warm sandboxes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::SandboxRequest;
use crate::object::objects;

objects!(PoolRequest, DrainRequest);

/// The pools of the daemon, one for each backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolStats {
    /// They.
    pub pools: Vec<Pool>,
}

/// The pool of one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Which backend.
    pub backend: String,
    /// Sandboxes that wait for a tenant.
    pub warm: u64,
    /// Sandboxes that will.
    pub booting: u64,
    /// The most that both together may be.
    pub warm_max: u64,
    /// Memory promised to both.
    pub memory_promised_bytes: u64,
    /// The most that it may be.
    pub memory_max_bytes: u64,
    /// Whether nothing is booted before somebody asks for it, because the host has too little memory left.
    #[serde(default)]
    pub short_of_memory: bool,
    /// What has happened, those kinds that are gone included.
    pub total: PoolCounts,
    /// Each kind of sandbox.
    pub keys: Vec<PoolKey>,
}

/// The sandboxes of a pool that are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolKey {
    /// What they have in common, in words.
    pub key: String,
    /// Sandboxes that wait for a tenant.
    pub warm: u64,
    /// Sandboxes that will.
    pub booting: u64,
    /// How many there should be now.
    pub target: u64,
    /// The least that the target may be.
    pub low: u64,
    /// The most that the target may be.
    pub high: u64,
    /// Refills that failed since the last that did not.
    pub failures_in_a_row: u32,
    /// How long until a refill is tried again.
    pub retry_in_ms: Option<u64>,
    /// What has happened.
    pub counts: PoolCounts,
}

/// What has happened in a pool. Percentiles are of the last 256 times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolCounts {
    /// Leases of warm sandboxes.
    pub hits: u64,
    /// Leases of sandboxes that had to be booted for it.
    pub misses: u64,
    /// Warm sandboxes that were stopped without having been used.
    pub discarded: u64,
    /// Boots that failed.
    pub boot_failures: u64,
    /// Sandboxes of which something may be left on the host.
    pub stop_failures: u64,
    /// The last failure.
    pub last_error: Option<String>,
    /// From the request until a warm sandbox was leased.
    pub acquire_p50_ns: Option<u64>,
    /// The same for 99 of 100.
    pub acquire_p99_ns: Option<u64>,
    /// From the beginning of a boot until exec worked.
    pub boot_p50_ns: Option<u64>,
    /// The same for 99 of 100.
    pub boot_p99_ns: Option<u64>,
}

/// How many sandboxes of a kind are to be warm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct PoolRequest {
    /// The kind: whatever is fixed when a sandbox boots. Name, labels and times make no difference.
    #[serde(default)]
    pub sandbox: SandboxRequest,
    /// At least so many, whether they are asked for or not.
    pub low: u32,
    /// At most so many.
    pub high: u32,
}

/// Which warm sandboxes are to be stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct DrainRequest {
    /// Those of this kind, whose targets are forgotten; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxRequest>,
}

/// What draining did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainReply {
    /// So many sandboxes were stopped, and nothing of them is left.
    pub stopped: u64,
}
