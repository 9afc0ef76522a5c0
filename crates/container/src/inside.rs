//! Where things are in a container.

use std::path::Path;

use agentkernel_core::SandboxSpec;

/// The guest agent: in a folder of its own, out of the way of every image.
pub(crate) const AGENT: &str = "/.agentkernel/agent";

/// That folder.
pub(crate) const AGENT_FOLDER: &str = "/.agentkernel";

/// Where commands start, and HOME.
pub(crate) const WORKSPACE: &str = "/workspace";

/// Places in memory that commands can write to, but for those that a folder of the host takes: two would be in one place.
pub(crate) fn places_in_memory(spec: &SandboxSpec) -> Vec<&'static str> {
    let is_taken = |place: &str| spec.mounts().iter().any(|mount| mount.target() == Path::new(place));
    ["/tmp", WORKSPACE].into_iter().filter(|place| !is_taken(place)).collect()
}
