//! Which sandboxes are alike: what of a spec is fixed at boot.

use std::fmt;
use std::sync::LazyLock;

use agentkernel_core::{
    Backend, BackendKind, CpuCount, Image, Limit, Limits, Resize, SandboxName, SandboxSpec,
};

/// Everything of a spec that a sandbox cannot change once it has booted.
///
/// Two specs with the same key get the same warm sandboxes. It is a whole spec, of which only what may
/// differ has been made the same: a new field of specs is part of the key until somebody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolKey {
    backend: BackendKind,
    /// Whether the backend changes memory and processors later, so that they are no part of the key.
    resize: bool,
    spec: SandboxSpec,
}

/// The memory and processors of every key that has none of its own.
const ANY_SIZE: Resize = Resize { memory: Limit::Unlimited, cpus: Limit::At(CpuCount::whole(1)) };

/// The name in every key.
static NOBODY: LazyLock<SandboxName> = LazyLock::new(|| SandboxName::from_random(0));

/// Why a sandbox cannot be booted before anybody has asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPoolable {
    /// Its mounts are hardly anybody else's.
    Mounts,
    /// Its lifetime counts from boot, and would pass while it waits.
    Lifetime,
    /// Nobody knows how much memory it would hold while it waits.
    UnlimitedMemory,
    /// It calls itself by a name that somebody gave it, which cannot change after boot.
    Hostname,
}

impl fmt::Display for NotPoolable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Mounts => "it has mounts, which are seldom the same twice",
            Self::Lifetime => "it has a lifetime, which counts from boot",
            Self::UnlimitedMemory => "its memory is unlimited, which no pool can promise",
            Self::Hostname => "it has a host name of its own, which is given at boot",
        })
    }
}

/// What apart from the spec decides on its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRules {
    /// Which backend boots.
    pub backend: BackendKind,
    /// Whether it can change memory and processors of a live sandbox.
    pub resize: bool,
    /// Whether specs with mounts are pooled.
    pub mounts: bool,
}

impl KeyRules {
    /// What follows from the backend. Specs with mounts are not pooled.
    #[must_use]
    pub fn of(backend: &dyn Backend) -> Self {
        Self { backend: backend.kind(), resize: backend.capabilities().resize, mounts: false }
    }

    /// The key of a spec, or why it has none. A pure function.
    pub fn poolable(&self, spec: &SandboxSpec) -> Result<PoolKey, NotPoolable> {
        self.check(spec)?;
        Ok(self.key(spec))
    }

    /// The key of a spec that has one.
    pub(crate) fn key(&self, spec: &SandboxSpec) -> PoolKey {
        let spec = spec.clone().with_name(NOBODY.clone()).without_host_socket();
        let spec = if self.resize { spec.with_size(ANY_SIZE) } else { spec };
        PoolKey { backend: self.backend, resize: self.resize, spec }
    }

    /// Whether a spec has a key.
    pub(crate) fn check(&self, spec: &SandboxSpec) -> Result<(), NotPoolable> {
        if !spec.mounts().is_empty() && !self.mounts {
            return Err(NotPoolable::Mounts);
        }
        if spec.lifetime().is_some() {
            return Err(NotPoolable::Lifetime);
        }
        if spec.limits().memory == Limit::Unlimited {
            return Err(NotPoolable::UnlimitedMemory);
        }
        if spec.has_own_hostname() {
            return Err(NotPoolable::Hostname);
        }
        Ok(())
    }
}

impl PoolKey {
    /// Whether it is the key of a spec that has one by the rules that this key was made by, without making that.
    pub(crate) fn is_of(&self, spec: &SandboxSpec) -> bool {
        self.spec.boots_like(spec, self.resize)
    }

    /// A spec of this key, for a sandbox of this name.
    pub(crate) fn spec(&self, name: SandboxName, size: Resize) -> SandboxSpec {
        self.spec.clone().with_name(name).with_size(size)
    }

    /// The size to begin with, before anybody has asked for one.
    pub(crate) fn first_size(&self) -> Resize {
        if self.resize {
            Resize::from(&Limits::of(self.spec.profile()))
        } else {
            Resize::from(self.spec.limits())
        }
    }
}

/// One line for a person, and the key's name in statistics.
impl fmt::Display for PoolKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { cpus, memory, pids, disk, open_files } = self.spec.limits();
        match self.spec.image() {
            Image::Module(file) => write!(out, "{} module {}", self.backend, file.path().display())?,
            image => write!(out, "{} {image:?}", self.backend)?,
        }
        write!(out, " {}, user {}", self.spec.profile().as_str(), self.spec.user())?;
        write!(out, ", network {:?}", self.spec.network())?;
        if self.spec.emulate() {
            write!(out, ", emulated: not a security boundary")?;
        }
        if let Some(warm_up) = self.spec.warm_up() {
            write!(out, ", warmed up for {} by {warm_up}", warm_up.owner)?;
        }
        if !self.resize {
            write!(out, ", memory {memory}, cpus {cpus}")?;
        }
        write!(out, ", pids {pids}, disk {disk}, open files {open_files}")?;
        for mount in self.spec.mounts() {
            let (source, target) = (mount.source().display(), mount.target().display());
            write!(out, ", {source} at {target} {:?}", mount.access())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
