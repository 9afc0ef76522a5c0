//! The container runtimes that can make our container, and the words in which each is told to.
//!
//! Architecture invariant: the words are a fixed list. Nothing of a request gets into them but the sandbox's name, which
//! can be no option.

mod find;
mod memory;
mod slot;

use std::path::{Path, PathBuf};

use agentkernel_core::BackendKind;
use serde::{Deserialize, Serialize};

use crate::bundle::STAGE;

pub(crate) use memory::Memory;
pub(crate) use slot::EngineSlot;

pub use find::find;
use find::{ask, locate, seen_from_the_stage};

/// Where the guest agent is, inside.
pub(crate) const AGENT: &str = "/run/agentkernel-guest";

/// The runtime's own records, its notes for us, and its last words, all on the stage: they vanish with it.
pub(crate) const PID_FILE: &str = "pid";
pub(crate) const PANIC_LOG: &str = "panic.log";
const STATE: &str = "state";

/// Who can make a container besides ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// The reference runtime.
    Runc,
    /// The one in C.
    Crun,
    /// gVisor's.
    Gvisor,
}

impl Engine {
    /// What a user calls it.
    #[must_use]
    pub fn kind(self) -> BackendKind {
        match self {
            Self::Runc => BackendKind::Runc,
            Self::Crun => BackendKind::Crun,
            Self::Gvisor => BackendKind::Gvisor,
        }
    }

    /// The name of its program, which is also the name of Debian's package.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Gvisor => "runsc",
        }
    }

    /// Whether its kernel lets a user look into all of his processes, those among it that nobody may look into: the guest
    /// agent is another user then.
    pub(crate) fn hides_nothing(self) -> bool {
        self == Self::Gvisor
    }

    /// Whether a descriptor besides the standard streams reaches the guest agent. Where none does, its door takes the
    /// place of its standard output, which it does not use.
    pub(crate) fn passes_descriptors(self) -> bool {
        matches!(self, Self::Runc | Self::Crun)
    }

    /// What the guest agent is told of where it is.
    pub(crate) fn agent_words(self) -> &'static [&'static str] {
        match self {
            Self::Runc | Self::Crun => &["--door"],
            // A copy of the agent's memory takes its kernel longer than a whole command takes another one; and it tells nobody
            // that a terminal has another size.
            Self::Gvisor => &["--door-on-stdout", "--lend-memory", "--tell-size"],
        }
    }

    /// Whether the sandbox has a kernel that is not the host's: then its processes are no processes of the host.
    pub(crate) fn has_own_kernel(self) -> bool {
        matches!(self, Self::Gvisor)
    }

    /// Whether it leaves its container to us, once that runs. gVisor stays: only its own process sees to it that the
    /// container ends when it is killed itself.
    pub(crate) fn leaves(self) -> bool {
        matches!(self, Self::Runc | Self::Crun)
    }

    /// Whether it makes a group within ours; crun goes into ours as it is started.
    pub(crate) fn makes_group(self) -> bool {
        matches!(self, Self::Runc | Self::Gvisor)
    }
}

/// A runtime that was found on this host, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Which one.
    pub engine: Engine,
    /// Its program.
    pub path: PathBuf,
    /// What it says of its version.
    pub version: String,
    /// For gVisor: how system calls are caught.
    pub platform: Option<String>,
    /// Global flags that this version needs to be as strict as it can.
    pub flags: Vec<String>,
}

/// The order to a runtime, as it is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launcher {
    /// Which one.
    pub engine: Engine,
    /// Its program.
    pub path: PathBuf,
    /// Its arguments, without the program's own name.
    pub words: Vec<String>,
}

impl Runtime {
    /// The order that makes the container `name` out of the bundle on the stage.
    pub(crate) fn launcher(&self, name: &str) -> Launcher {
        let on_stage = |file: &str| Path::new(STAGE).join(file).display().to_string();
        let mut words = vec!["--root".to_owned(), on_stage(STATE)];
        words.extend(self.flags.iter().cloned());
        match self.engine {
            Engine::Runc => {}
            Engine::Crun => words.push("--cgroup-manager=disabled".into()),
            Engine::Gvisor => {
                words.extend(["--network=none", "--oci-seccomp"].map(str::to_owned));
                words.push(format!("--panic-log={}", on_stage(PANIC_LOG)));
                words.extend(self.platform.iter().map(|platform| format!("--platform={platform}")));
            }
        }
        words.extend(["run", "--bundle", STAGE, "--pid-file", &on_stage(PID_FILE)].map(str::to_owned));
        if self.engine.passes_descriptors() {
            words.extend(["--preserve-fds", "1"].map(str::to_owned));
        }
        if self.engine.leaves() {
            words.push("--detach".into());
        }
        words.push(name.to_owned());
        Launcher { engine: self.engine, path: self.path.clone(), words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(engine: Engine, platform: Option<&str>, flags: &[&str]) -> String {
        let runtime = Runtime {
            engine,
            path: "/usr/bin/x".into(),
            version: "1".into(),
            platform: platform.map(str::to_owned),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        runtime.launcher("name").words.join(" ")
    }

    #[test]
    fn each_runtime_is_told_in_its_own_words() {
        assert_eq!(
            words(Engine::Runc, None, &[]),
            "--root /tmp/state run --bundle /tmp --pid-file /tmp/pid --preserve-fds 1 --detach name"
        );
        assert_eq!(
            words(Engine::Crun, None, &[]),
            "--root /tmp/state --cgroup-manager=disabled run --bundle /tmp --pid-file /tmp/pid --preserve-fds 1 --detach name"
        );
        assert_eq!(
            words(Engine::Gvisor, Some("systrap"), &["--directfs=false"]),
            "--root /tmp/state --directfs=false --network=none --oci-seccomp --panic-log=/tmp/panic.log \
             --platform=systrap run --bundle /tmp --pid-file /tmp/pid name"
        );
    }
}
