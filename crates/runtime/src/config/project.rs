//! The file of the working directory: it can make a run stricter, and never weaker.
//!
//! A key of it is refused if it is weaker than what the user's own files and the defaults say, so that
//! nobody wonders why it has no effect. What remains is applied as an upper bound and not as a value:
//! that way it is stricter under every environment and every flag, too.

use std::fmt::Display;
use std::path::Path;

use agentkernel_core::{Error, Limit, Profile, Result};

use super::{Layer, Settings, wrong};

/// Refuses every key that is not at least as strict as `trusted`.
pub(super) fn check(path: &Path, layer: &Layer, trusted: &Settings, user: Option<&Path>) -> Result<()> {
    let file = Checked { path, user };
    file.refuse("backend", "--backend", layer.backend.is_some())?;
    file.refuse("image", "--image or --rootfs", layer.image.is_some())?;
    if let Some(profile) = layer.profile {
        let weaker = rank(profile) > rank(trusted.profile);
        file.compare("profile", profile.as_str(), trusted.profile.as_str(), weaker)?;
    }
    let limits = &trusted.limits;
    file.limit("cpus", layer.cpus, limits.cpus)?;
    file.limit("memory", layer.memory, limits.memory)?;
    file.limit("pids", layer.pids, limits.pids)?;
    file.limit("disk", layer.disk.map(Limit::At), Limit::At(limits.disk))?;
    let output_limit = layer.output_limit.map(Limit::At);
    file.limit("output_limit", output_limit, Limit::At(trusted.output_limit))?;
    if let (Some(timeout), Some(lower)) = (layer.timeout, trusted.timeout) {
        file.compare("timeout", format!("{timeout:?}"), format!("{lower:?}"), timeout > lower)?;
    }
    Ok(())
}

/// What holds under the layers `above`, which are part of `said`, if the project file has its way where
/// they are silent.
pub(super) fn tighten(said: &Layer, above: &Layer, project: &Layer) -> Settings {
    let mut said = said.clone();
    if above.profile.is_none() {
        let profiles = [said.profile.or(Some(Settings::PROFILE)), project.profile];
        said.profile = profiles.into_iter().flatten().min_by_key(|profile| rank(*profile));
    }
    let mut settings = Settings::of(&said);
    let limits = &mut settings.limits;
    lower(&mut limits.cpus, above.cpus, project.cpus);
    lower(&mut limits.memory, above.memory, project.memory);
    lower(&mut limits.pids, above.pids, project.pids);
    if let (None, Some(disk)) = (above.disk, project.disk) {
        limits.disk = limits.disk.min(disk);
    }
    if let (None, Some(output_limit)) = (above.output_limit, project.output_limit) {
        settings.output_limit = settings.output_limit.min(output_limit);
    }
    if let (None, Some(timeout)) = (above.timeout, project.timeout) {
        settings.timeout = Some(settings.timeout.map_or(timeout, |other| other.min(timeout)));
    }
    settings
}

fn lower<T: Copy + Ord>(limit: &mut Limit<T>, above: Option<Limit<T>>, project: Option<Limit<T>>) {
    if let (None, Some(project)) = (above, project)
        && is_weaker(*limit, project)
    {
        *limit = project;
    }
}

/// Position among the profiles, most restrictive first.
pub(super) fn rank(profile: Profile) -> usize {
    Profile::ALL.iter().position(|other| *other == profile).unwrap_or(usize::MAX)
}

/// Whether `limit` allows more than `other`.
pub(super) fn is_weaker<T: Ord>(limit: Limit<T>, other: Limit<T>) -> bool {
    match (limit, other) {
        (_, Limit::Unlimited) => false,
        (Limit::Unlimited, Limit::At(_)) => true,
        (Limit::At(limit), Limit::At(other)) => limit > other,
    }
}

/// The file, for messages.
struct Checked<'a> {
    path: &'a Path,
    user: Option<&'a Path>,
}

impl Checked<'_> {
    fn refuse(&self, key: &str, flag: &str, is_said: bool) -> Result<()> {
        if !is_said {
            return Ok(());
        }
        let error = self.error(key, "a file in the working directory cannot decide this");
        Err(error.hint(self.way_out(flag)))
    }

    fn limit<T: Copy + Ord + Display>(
        &self,
        key: &str,
        said: Option<Limit<T>>,
        lower: Limit<T>,
    ) -> Result<()> {
        said.map_or(Ok(()), |said| self.compare(key, said, lower, is_weaker(said, lower)))
    }

    fn compare(&self, key: &str, said: impl Display, lower: impl Display, is_weaker: bool) -> Result<()> {
        if !is_weaker {
            return Ok(());
        }
        let why = format!(
            "{said} is weaker than {lower}, which holds without it, and a file in the working directory \
             can only make things stricter"
        );
        let flag = format!("--{} {said}", key.replace('_', "-"));
        Err(self.error(key, why).hint(self.way_out(&flag)))
    }

    fn error(&self, key: &str, why: impl Display) -> Error {
        wrong(format!("{}: run.{key}", self.path.display()), why)
    }

    fn way_out(&self, flag: &str) -> String {
        match self.user {
            Some(user) => format!("say {flag} on the command line, or put it into {}", user.display()),
            None => format!("say {flag} on the command line"),
        }
    }
}
