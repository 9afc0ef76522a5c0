//! How a description is made: field by field, and checked as a whole.

use std::time::Duration;

use super::{BindMount, HostSocket, Image, Limits, Profile, SandboxName, SandboxSpec, User};
use crate::{Error, ErrorKind, Result, WarmUp};

/// Collects what was asked for; [`SandboxSpecBuilder::build`] checks it as a whole.
#[derive(Debug, Clone)]
pub struct SandboxSpecBuilder {
    pub(super) spec: SandboxSpec,
}

impl SandboxSpecBuilder {
    /// What it calls itself, instead of its name on this host.
    #[must_use]
    pub fn hostname(mut self, hostname: SandboxName) -> Self {
        self.spec.hostname = Some(hostname);
        self
    }

    /// What the file system holds.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.spec.image = image;
        self
    }

    /// Limits instead of the profile's.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.spec.limits = limits;
        self
    }

    /// One more host folder.
    #[must_use]
    pub fn mount(mut self, mount: BindMount) -> Self {
        self.spec.mounts.push(mount);
        self
    }

    /// One socket of the host.
    #[must_use]
    pub fn host_socket(mut self, socket: Option<HostSocket>) -> Self {
        self.spec.host_socket = socket;
        self
    }

    /// As whom processes run.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.spec.user = user;
        self
    }

    /// Kill it after this time.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.spec.lifetime = lifetime;
        self
    }

    /// Let it be a machine that is emulated in software.
    #[must_use]
    pub fn emulate(mut self, emulate: bool) -> Self {
        self.spec.emulate = emulate;
        self
    }

    /// Run this command once before anybody gets it; none without a word.
    #[must_use]
    pub fn warm_up(mut self, warm_up: Option<WarmUp>) -> Self {
        self.spec.warm_up = warm_up.filter(|warm_up| !warm_up.argv.is_empty());
        self
    }

    /// Checks what can only be checked as a whole.
    pub fn build(self) -> Result<SandboxSpec> {
        let spec = self.spec;
        let refuse = |subject: String, why: &str| {
            Err(Error::new(ErrorKind::Usage, "describe the sandbox", why).on(subject))
        };
        if spec.user.uid == 0 && spec.profile != Profile::Permissive {
            let error =
                Error::new(ErrorKind::Usage, "describe the sandbox", "root is refused in this profile");
            return Err(error
                .on(format!("--user {}", spec.user))
                .hint("add --profile permissive, or leave --user out"));
        }
        if spec.limits.open_files < Limits::OPEN_FILES_MIN {
            return refuse(
                format!("open files {}", spec.limits.open_files),
                &format!("the sandbox itself needs {}", Limits::OPEN_FILES_MIN),
            );
        }
        for (index, mount) in spec.mounts.iter().enumerate() {
            if spec.mounts[..index].iter().any(|earlier| earlier.target() == mount.target()) {
                return refuse(
                    format!("-v {}", mount.target().display()),
                    "two mounts have the same place in the sandbox",
                );
            }
        }
        if let Image::Rootfs(path) = &spec.image
            && !path.is_absolute()
        {
            return refuse(path.display().to_string(), "the root folder's path must be absolute");
        }
        Ok(spec)
    }
}
