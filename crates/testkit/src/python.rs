//! Python packages that scripts/setup installs below the target folder, each in an environment of its own.

use std::path::{Path, PathBuf};

use agentkernel_core::Availability;

use crate::available_or_skip;

/// The folder of the programs of this package's environment, if it was installed. `tmp` is `CARGO_TARGET_TMPDIR`, which only
/// an integration test is told.
#[must_use]
pub fn python_package(tmp: &str, name: &str) -> Option<PathBuf> {
    let folder = Path::new(tmp).parent()?.join(name).join("bin");
    let found = if folder.join("pip").exists() {
        Availability::Available { facts: Vec::new() }
    } else {
        let needs = folder.display().to_string();
        Availability::Unavailable { needs, hint: "scripts/setup --test".into() }
    };
    available_or_skip(name, &found).then_some(folder)
}
