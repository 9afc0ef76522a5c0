//! Snapshots of sandboxes in use, and what goes on from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object::objects;

objects!(SnapshotRequest, RestoreRequest, ForkRequest);

/// A snapshot that is to be taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct SnapshotRequest {
    /// Its name on this host: 1 to 63 of a-z, 0-9 and `-`. Without it, one is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A snapshot that is kept: memory, files and running commands of a sandbox at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its name on this host.
    pub name: String,
    /// What keeps it, and what everything that goes on from it is held by.
    pub backend: String,
    /// The name of the sandbox that it was taken of.
    pub sandbox: String,
    /// When it was taken: milliseconds since 1970, for display.
    pub created_ms: u64,
    /// What it takes on disk.
    pub bytes: u64,
}

/// Snapshots, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// They.
    pub snapshots: Vec<Snapshot>,
}

/// A sandbox that is to go on from a snapshot. All else is as in the one that it was taken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct RestoreRequest {
    /// Its name among its owner's. Without it, its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its owner wants to remember.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It is ended after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// It is ended when nobody has used it for this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

/// Sandboxes that are to go on from where one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct ForkRequest {
    /// How many; all of them are made, or none.
    pub count: u32,
    /// What they are to be. Of more than one, each has the name with `-1`, `-2` and so on behind it.
    pub each: RestoreRequest,
}

impl Default for ForkRequest {
    fn default() -> Self {
        Self { count: 1, each: RestoreRequest::default() }
    }
}

/// What a sandbox that goes on from a snapshot has shown of having been renewed before anybody could use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewal {
    /// What it calls its boot, which no other one does.
    pub boot_id: String,
    /// Sixteen bytes that its kernel drew afterwards, in hexadecimal.
    pub random_sample: String,
    /// How far its clock was from the host's.
    pub clock_error_ns: u64,
}
