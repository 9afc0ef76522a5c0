//! What the `container` program is asked, one function for each way: words, and nothing is run here.
//!
//! Places of words are those of its `--help` and of its source, releases 0.12.0 to 1.2.2. A word that is not written
//! here is the value of an option before it, or begins with a letter of a checked name: none can be an option itself.

use std::fmt;

use agentkernel_core::{ImageName, SandboxName, SandboxSpec, User};

use crate::inside::AGENT;

/// What the names of all our containers end with.
const SUFFIX: &str = ".agentkernel";

/// Longest name of a container that the program takes.
const NAME_MAX: usize = 63;

/// The name of the abstract socket on which the guest agent waits. It is in a machine of its own.
pub(crate) const CALL: &str = "agentkernel";

/// Users beside 65532, which is that of sandboxes.
const CALLERS: [u32; 2] = [65533, 65531];

/// Words for the program, without its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(pub(crate) Vec<String>);

impl Argv {
    pub(super) fn of<const N: usize>(words: [&str; N]) -> Self {
        Self(words.map(str::to_owned).into())
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// As a shell would take them, for a person.
impl fmt::Display for Argv {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("container")?;
        self.0.iter().try_for_each(|word| write!(out, " {word}"))
    }
}

/// What a container is called. Up to the first dot that is also the name of its host: the program takes no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName(String);

impl ContainerName {
    /// The name of a sandbox's container; an error says how long it may be.
    pub fn of(spec: &SandboxSpec) -> Result<Self, String> {
        let host = if spec.has_own_hostname() { format!("{}.", spec.hostname()) } else { String::new() };
        let name = format!("{host}{}{SUFFIX}", spec.name());
        let room = NAME_MAX - SUFFIX.len();
        let taken = name.len() - SUFFIX.len();
        (taken <= room).then_some(Self(name)).ok_or_else(|| {
            format!("it and its host name have {taken} letters, and Apple's container has room for {room}")
        })
    }

    /// The name of a container that the program lists, if it is one of ours.
    pub(crate) fn ours(listed: &str) -> Option<Self> {
        let named = listed.strip_suffix(SUFFIX)?;
        let is_named = named.split('.').all(|part| part.parse::<SandboxName>().is_ok());
        (is_named && listed.len() <= NAME_MAX).then(|| Self(listed.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Which version it is.
#[must_use]
pub fn version() -> Argv {
    Argv::of(["--version"])
}

/// Whether its services run.
#[must_use]
pub fn status() -> Argv {
    Argv::of(["system", "status", "--format", "json"])
}

/// What it knows of an image; an error if it has none of this name.
#[must_use]
pub fn inspect_image(image: &ImageName) -> Argv {
    Argv::of(["image", "inspect", image.as_str()])
}

/// Boots a container's machine and starts the agent in it.
#[must_use]
pub fn start(name: &ContainerName) -> Argv {
    Argv::of(["start", name.as_str()])
}

/// The stream to the agent, on the standard streams of the program.
#[must_use]
pub fn call(name: &ContainerName, caller: User) -> Argv {
    let (uid, gid) = (caller.uid.to_string(), caller.gid.to_string());
    Argv::of(["exec", "--interactive", "--uid", &uid, "--gid", &gid, name.as_str(), AGENT, "pass", CALL])
}

/// What the guest's kernel says.
#[must_use]
pub fn report(name: &ContainerName, caller: User) -> Argv {
    let (uid, gid) = (caller.uid.to_string(), caller.gid.to_string());
    Argv::of(["exec", "--uid", &uid, "--gid", &gid, name.as_str(), AGENT, "report"])
}

/// Who calls the agent: another than the sandbox's user, whom no process of it can become, for none has a capability.
#[must_use]
pub fn caller(spec: &SandboxSpec) -> User {
    let id = if spec.user().uid == CALLERS[0] { CALLERS[1] } else { CALLERS[0] };
    User { uid: id, gid: id }
}

/// What the program says that a container is.
#[must_use]
pub fn inspect(name: &ContainerName) -> Argv {
    Argv::of(["inspect", name.as_str()])
}

/// What a container uses.
#[must_use]
pub fn stats(name: &ContainerName) -> Argv {
    Argv::of(["stats", "--format", "json", "--no-stream", name.as_str()])
}

/// Ends a container at once.
#[must_use]
pub fn stop(name: &ContainerName) -> Argv {
    Argv::of(["stop", "--signal", "SIGKILL", "--time", "1", name.as_str()])
}

/// Ends it and removes it.
#[must_use]
pub fn delete(name: &ContainerName) -> Argv {
    Argv::of(["delete", "--force", name.as_str()])
}

/// All containers.
#[must_use]
pub fn list() -> Argv {
    Argv::of(["list", "--all", "--format", "json"])
}
