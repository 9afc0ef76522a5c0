//! Where things are in a container.

/// The guest agent: in a folder of its own, out of the way of every image.
pub(crate) const AGENT: &str = "/.agentkernel/agent";

/// That folder.
pub(crate) const AGENT_FOLDER: &str = "/.agentkernel";

/// Where commands start, and HOME.
pub(crate) const WORKSPACE: &str = "/workspace";
