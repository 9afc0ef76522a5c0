//! What a run is to be when nobody says otherwise, from layers: each one overrides those below it.
//!
//! ```text
//! defaults < system file < user file < (project file) < environment < flags
//! ```
//!
//! The project file lies in the working directory, so that it may be part of a hostile checkout. It does
//! not override: it can only make stricter, whatever is above and below it (see `config/project.rs`).

mod file;
mod project;

use std::path::PathBuf;
use std::time::Duration;

use agentkernel_core::{ByteSize, CpuCount, Error, ErrorKind, Image, Limit, Limits, Profile, Result};

use crate::choice::BackendRequest;

pub use file::{parse_image, parse_pids};

/// Where the files are. The program decides; nothing is looked up here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigPaths {
    /// The administrator's.
    pub system: Option<PathBuf>,
    /// The user's.
    pub user: Option<PathBuf>,
    /// The one in the working directory, which is not trusted.
    pub project: Option<PathBuf>,
}

/// What one layer says. `None` says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Which backend.
    pub backend: Option<BackendRequest>,
    /// Which root file system.
    pub image: Option<Image>,
    /// How much is trusted to the sandbox.
    pub profile: Option<Profile>,
    /// Processors.
    pub cpus: Option<Limit<CpuCount>>,
    /// Memory.
    pub memory: Option<Limit<ByteSize>>,
    /// Processes and threads.
    pub pids: Option<Limit<u32>>,
    /// Each writable place.
    pub disk: Option<ByteSize>,
    /// Output of the command that is passed on.
    pub output_limit: Option<ByteSize>,
    /// Time of the command.
    pub timeout: Option<Duration>,
}

impl Layer {
    /// This layer with everything that `upper` says in its stead.
    fn under(self, upper: &Self) -> Self {
        Self {
            backend: upper.backend.or(self.backend),
            image: upper.image.clone().or(self.image),
            profile: upper.profile.or(self.profile),
            cpus: upper.cpus.or(self.cpus),
            memory: upper.memory.or(self.memory),
            pids: upper.pids.or(self.pids),
            disk: upper.disk.or(self.disk),
            output_limit: upper.output_limit.or(self.output_limit),
            timeout: upper.timeout.or(self.timeout),
        }
    }
}

/// What holds when all layers have been heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which backend.
    pub backend: BackendRequest,
    /// Which root file system.
    pub image: Image,
    /// How much is trusted to the sandbox.
    pub profile: Profile,
    /// What the sandbox may use.
    pub limits: Limits,
    /// How much output of the command is passed on, stdout and stderr together.
    pub output_limit: ByteSize,
    /// Time of the command.
    pub timeout: Option<Duration>,
}

impl Settings {
    /// The profile unless another is named.
    const PROFILE: Profile = Profile::Restrictive;
    /// Output that is passed on unless another limit is named.
    pub const OUTPUT_LIMIT: ByteSize = ByteSize::mib(64);

    /// The defaults with what a layer says in their stead.
    fn of(layer: &Layer) -> Self {
        let profile = layer.profile.unwrap_or(Self::PROFILE);
        let limits = Limits::of(profile);
        Self {
            backend: layer.backend.unwrap_or_default(),
            image: layer.image.clone().unwrap_or(Image::Host),
            profile,
            limits: Limits {
                cpus: layer.cpus.unwrap_or(limits.cpus),
                memory: layer.memory.unwrap_or(limits.memory),
                pids: layer.pids.unwrap_or(limits.pids),
                disk: layer.disk.unwrap_or(limits.disk),
                ..limits
            },
            output_limit: layer.output_limit.unwrap_or(Self::OUTPUT_LIMIT),
            timeout: layer.timeout,
        }
    }
}

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// System file and user file, merged.
    trusted: Layer,
    project: Option<Layer>,
}

impl Files {
    /// Reads and checks the files. One that does not exist says nothing; one that cannot be read is an
    /// error, for it might have made things stricter.
    pub fn read(paths: &ConfigPaths) -> Result<Self> {
        let mut trusted = Layer::default();
        let mut seen = Vec::new();
        for path in [&paths.system, &paths.user].into_iter().flatten() {
            if let Some(file) = file::read(path)? {
                trusted = trusted.under(&file::parse(path, &file.text)?);
                seen.push(file.identity);
            }
        }
        let mut project = None;
        // In the user's own configuration folder, the file of the working directory is the user's file.
        if let Some(path) = &paths.project
            && let Some(file) = file::read(path)?
            && !seen.contains(&file.identity)
        {
            let layer = file::parse(path, &file.text)?;
            project::check(path, &layer, &Settings::of(&trusted), paths.user.as_deref())?;
            project = Some(layer);
        }
        Ok(Self { trusted, project })
    }

    /// What holds under the environment and the flags.
    #[must_use]
    pub fn resolve(&self, environment: &Layer, flags: &Layer) -> Settings {
        let above = environment.clone().under(flags);
        let said = self.trusted.clone().under(&above);
        match &self.project {
            Some(project) => project::tighten(&said, &above, project),
            None => Settings::of(&said),
        }
    }
}

/// An error about one key, or one variable, of the configuration.
fn wrong(place: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, "read the configuration", why).on(place)
}

/// The layer of the environment, from the value of `AGENTKERNEL_BACKEND`.
pub fn environment_layer(backend: Option<&str>) -> Result<Layer> {
    let backend = backend.map(str::parse).transpose();
    Ok(Layer { backend: backend.map_err(|why| wrong("AGENTKERNEL_BACKEND", why))?, ..Layer::default() })
}

#[cfg(test)]
mod tests;
