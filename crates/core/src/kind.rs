//! The backends by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Result, suggest};

/// What holds a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// A virtual machine of Apple's `container`.
    Apple,
    /// A micro VM by Firecracker.
    Firecracker,
    /// A micro VM under QEMU's `microvm` machine.
    Qemu,
    /// The embedded hardened Linux container.
    Oci,
    /// The same container, made by runc.
    Runc,
    /// The same container, made by crun.
    Crun,
    /// A container under gVisor's kernel in user space.
    Gvisor,
    /// A container of the Docker engine.
    Docker,
    /// A container of Podman.
    Podman,
    /// A micro VM without a Linux kernel, by Hyperlight and Unikraft.
    Hyperlight,
    /// A Wasm module in Wasmtime, in the process of whoever holds it.
    Wasm,
    /// The test suite's stand-in: no isolation, never chosen, not to be named by a user.
    Fake,
}

impl BackendKind {
    /// Every kind that a user can name, strongest boundary first: the order in which `auto` chooses.
    pub const ALL: &'static [Self] = &[
        Self::Apple,
        Self::Firecracker,
        Self::Qemu,
        Self::Hyperlight,
        Self::Gvisor,
        Self::Oci,
        Self::Runc,
        Self::Crun,
        Self::Docker,
        Self::Podman,
        Self::Wasm,
    ];

    /// The word that the user types.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apple => "apple",
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
            Self::Hyperlight => "hyperlight",
            Self::Oci => "oci",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Gvisor => "gvisor",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Wasm => "wasm",
            Self::Fake => "fake",
        }
    }

    /// One line for a person.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Apple => "virtual machine of Apple's container, on macOS (a kernel of its own)",
            Self::Firecracker => "micro VM by Firecracker (a kernel of its own)",
            Self::Qemu => "micro VM of QEMU's microvm machine (a kernel of its own)",
            Self::Hyperlight => {
                "micro VM without a Linux kernel, by Hyperlight and Unikraft (needs KVM; one command, no fork)"
            }
            Self::Oci => "embedded hardened Linux container (shared kernel)",
            Self::Runc => "hardened Linux container made by runc (shared kernel)",
            Self::Crun => "hardened Linux container made by crun (shared kernel)",
            Self::Docker => "hardened container of the Docker engine (shared kernel, ids of the host)",
            Self::Podman => "hardened container of Podman (shared kernel, ids of the host)",
            Self::Wasm => "Wasm modules in Wasmtime (a boundary of software alone, in our own process)",
            Self::Gvisor => "gVisor: a kernel in user space between the sandbox and the host's",
            Self::Fake => "no boundary at all, for tests",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let mut words = vec!["auto"];
            words.extend(Self::ALL.iter().map(|kind| kind.as_str()));
            suggest::unknown("backend", word, &words)
        })
    }
}
