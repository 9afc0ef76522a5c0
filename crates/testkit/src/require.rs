//! Skips that nobody can overlook, and that are failures where they must not happen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, thread};

use agentkernel_core::Availability;

/// Features that must not be skipped, separated by commas: `oci,userns,strace`.
const VARIABLE: &str = "AGENTKERNEL_REQUIRE";

/// How many times longer than elsewhere the suite waits on this host: a number, for one that is emulated.
const PATIENCE: &str = "AGENTKERNEL_PATIENCE";

/// A folder with runtimes of other versions than the host's own, for a run by hand.
const RUNTIMES: &str = "AGENTKERNEL_TEST_RUNTIMES";

/// The folder whose runtimes are to be tested instead of the host's, if one is named.
#[must_use]
pub fn other_runtimes() -> Option<PathBuf> {
    variable(RUNTIMES).map(PathBuf::from)
}

/// So many times this long.
#[must_use]
pub fn patiently(time: Duration) -> Duration {
    time * variable(PATIENCE).and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Whether a test that needs `feature` can run. If not, says so on the real stderr, which is seen even
/// where the test runner captures output.
///
/// # Panics
/// If the feature is unavailable and `AGENTKERNEL_REQUIRE` names it.
#[must_use]
pub fn available_or_skip(feature: &str, availability: &Availability) -> bool {
    match availability {
        Availability::Available { .. } | Availability::Limited { .. } => true,
        Availability::Unavailable { needs, hint } => {
            skip(feature, needs, hint);
            false
        }
    }
}

/// Where the host program `name` is, or a loud skip like that of [`available_or_skip`].
///
/// # Panics
/// If the program is missing and `AGENTKERNEL_REQUIRE` names it.
#[must_use]
pub fn tool_or_skip(name: &str) -> Option<PathBuf> {
    let found = variable("PATH").and_then(|path| find_tool(name, path.as_ref()));
    if found.is_none() {
        skip(name, &format!("the program '{name}' in PATH"), &format!("apt-get install {name}"));
    }
    found
}

fn skip(feature: &str, needs: &str, hint: &str) {
    let required = variable(VARIABLE).unwrap_or_default();
    let line = format!("SKIP {}: {feature}: {needs} ({hint})", test_name());
    assert!(!is_required(feature, &required), "{line}; but {VARIABLE}={required} forbids this skip");
    say(&line);
}

/// The name of the running test: libtest runs each in a thread of that name.
fn test_name() -> String {
    thread::current().name().unwrap_or("unnamed test").to_owned()
}

fn is_required(feature: &str, required: &str) -> bool {
    required.split(',').any(|word| word.trim() == feature)
}

#[expect(
    clippy::disallowed_methods,
    reason = "which skips are failures is told to tests by the environment alone"
)]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn find_tool(name: &str, path: &Path) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(path).map(|folder| folder.join(name)).find(is_program)
}

/// One line to file descriptor 2. `eprintln!` would be captured.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    let mut rest = line.as_bytes();
    while let Ok(written @ 1..) = rustix::io::write(rustix::stdio::stderr(), rest) {
        rest = &rest[written..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_required_only_by_its_whole_name() {
        assert!(is_required("oci", "userns, oci"));
        assert!(!is_required("oci", "oci-rootless,userns"));
        assert!(!is_required("oci", ""));
    }

    #[test]
    fn what_is_available_is_not_skipped() {
        assert!(available_or_skip("anything", &Availability::Available { facts: Vec::new() }));
    }

    #[test]
    fn a_tool_is_a_file_that_can_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        assert_eq!(find_tool("tool", folder.path()), None);
        std::fs::write(&tool, "").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(find_tool("tool", folder.path()), None);
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_tool("tool", folder.path()), Some(tool));
    }

    #[test]
    fn the_test_has_a_name() {
        assert!(test_name() == "main" || test_name().ends_with("the_test_has_a_name"));
    }
}
