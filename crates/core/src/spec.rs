//! The one policy value: what a sandbox is asked to be. Checked when it is built.

mod builder;
mod image;
mod limits;
mod module;
mod mount;
mod name;
mod profile;
mod socket;
mod user;

use std::path::PathBuf;
use std::time::Duration;

pub use builder::SandboxSpecBuilder;
pub use image::ImageName;
pub use limits::{Limit, Limits, Resize};
pub use module::{FileVersion, ModuleFile};
pub use mount::{Access, BindMount};
pub use name::SandboxName;
pub use profile::Profile;
pub use socket::HostSocket;
pub use user::User;

use crate::WarmUp;

/// A checked description of one sandbox. A backend enforces every field or refuses with its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SandboxSpec {
    name: SandboxName,
    hostname: Option<SandboxName>,
    image: Image,
    profile: Profile,
    limits: Limits,
    mounts: Vec<BindMount>,
    host_socket: Option<HostSocket>,
    user: User,
    network: Network,
    lifetime: Option<Duration>,
    emulate: bool,
    warm_up: Option<WarmUp>,
}

impl SandboxSpec {
    /// Begins a description with the defaults of `profile`.
    #[must_use]
    pub fn builder(name: SandboxName, profile: Profile) -> SandboxSpecBuilder {
        SandboxSpecBuilder {
            spec: Self {
                name,
                hostname: None,
                image: Image::Host,
                profile,
                limits: Limits::of(profile),
                mounts: Vec::new(),
                host_socket: None,
                user: User::SANDBOX,
                network: Network::None,
                lifetime: None,
                emulate: false,
                warm_up: None,
            },
        }
    }

    /// Its name on this host.
    #[must_use]
    pub fn name(&self) -> &SandboxName {
        &self.name
    }

    /// What it calls itself: its name on this host, unless it was given another one.
    #[must_use]
    pub fn hostname(&self) -> &SandboxName {
        self.hostname.as_ref().unwrap_or(&self.name)
    }

    /// Whether it was given a name of its own to call itself.
    #[must_use]
    pub fn has_own_hostname(&self) -> bool {
        self.hostname.is_some()
    }

    /// What its file system holds.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// How much is trusted to it.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Host folders inside it, in the order given, no two on the same place.
    #[must_use]
    pub fn mounts(&self) -> &[BindMount] {
        &self.mounts
    }

    /// The one socket of the host that it may talk to.
    #[must_use]
    pub fn host_socket(&self) -> Option<&HostSocket> {
        self.host_socket.as_ref()
    }

    /// As whom its processes run.
    #[must_use]
    pub fn user(&self) -> User {
        self.user
    }

    /// What it can reach.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network
    }

    /// It is killed after this time, whatever it does.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// Whether it may be a machine that is emulated in software, which is no security boundary.
    #[must_use]
    pub fn emulate(&self) -> bool {
        self.emulate
    }

    /// The command that it runs once before anybody gets it.
    #[must_use]
    pub fn warm_up(&self) -> Option<&WarmUp> {
        self.warm_up.as_ref()
    }

    /// Whether a sandbox of the one can be given to who asks for the other: they are the same but for what can be changed
    /// after boot, which is the name on this host, the host's socket and, with `any_size`, memory and processors.
    #[must_use]
    pub fn boots_like(&self, other: &Self, any_size: bool) -> bool {
        // All of them, so that a new field is thought of.
        #[rustfmt::skip]
        let Self {
            name: _, host_socket: _, hostname, image, profile, limits, mounts, user, network, lifetime, emulate, warm_up,
        } = self;
        let size = if any_size { Resize::from(&other.limits) } else { Resize::from(limits) };
        limits.with_size(size) == other.limits
            && (profile, user, network, emulate)
                == (&other.profile, &other.user, &other.network, &other.emulate)
            && (lifetime, hostname, mounts) == (&other.lifetime, &other.hostname, &other.mounts)
            && (image, warm_up) == (&other.image, &other.warm_up)
    }

    /// The same for a sandbox of another name.
    #[must_use]
    pub fn with_name(mut self, name: SandboxName) -> Self {
        self.name = name;
        self
    }

    /// The same without a socket of the host, which can be served at any time after boot.
    #[must_use]
    pub fn without_host_socket(mut self) -> Self {
        self.host_socket = None;
        self
    }

    /// The same with other memory and processors.
    #[must_use]
    pub fn with_size(mut self, size: Resize) -> Self {
        self.limits = self.limits.with_size(size);
        self
    }
}

/// What the file system of a sandbox holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Image {
    /// The host's own programs and libraries, read-only, with a synthetic `/etc`.
    Host,
    /// A folder that holds a root file system; absolute path.
    Rootfs(PathBuf),
    /// An image that the backend keeps itself, as container engines do. It is never fetched.
    Named(ImageName),
    /// No file system, but one Wasm module.
    Module(ModuleFile),
}

/// What a sandbox can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// Its own loopback and nothing else.
    None,
}

#[cfg(test)]
mod tests;
