//! Snapshots of sandboxes that are in use: kept on disk as they are, and continued any number of times.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Process, Result, Sandbox, SandboxName};

/// A snapshot's name: the same words are allowed as for a sandbox's.
pub type SnapshotName = SandboxName;

/// A snapshot that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What it is called on this host.
    pub name: SnapshotName,
    /// What whoever took it has written down of it.
    pub about: String,
    /// When it was taken, milliseconds since 1970.
    pub created_ms: u64,
    /// What it takes on disk, bytes.
    pub bytes: u64,
}

/// What a guest shows of having been renewed before anybody got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it calls its boot now.
    pub boot_id: String,
    /// Sixteen bytes that its kernel drew afterwards, in hexadecimal.
    pub random_sample: String,
    /// How far its clock was from the host's.
    pub clock_error: Duration,
}

/// A sandbox that continues from a snapshot.
pub struct Restored {
    /// It.
    pub sandbox: Box<dyn Sandbox>,
    /// The commands that ran when the snapshot was taken, known by their PIDs. What one had written that nobody had
    /// read then may be missing.
    pub commands: Vec<Box<dyn Process>>,
    /// What shows that it is itself.
    pub evidence: Evidence,
    /// Time until it could be used.
    pub ready: Duration,
}

/// A guest that holds still, as its boundary sees it.
#[async_trait]
pub trait HeldGuest: Send + Sync {
    /// Tells it what it has of its own, and lets it go on: returns its evidence, for the boundary to check. A guest that is
    /// never told goes on never.
    async fn renew(&self, steps: &str) -> Result<String>;
}
