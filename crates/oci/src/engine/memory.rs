//! What was found out about a runtime, for the next program: to ask it costs as much as to start a container, and to try it
//! ten times that. Whatever could change the answers is part of the key; what cannot be read or written is found out anew.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use agentkernel_core::Availability;
use serde::{Deserialize, Serialize};

use super::{Engine, Runtime};
use crate::paths::{RuntimeDir, make_private};

/// Names this file, the one by which it is tried, this kernel and this build of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    program: PathBuf,
    is: Version,
    /// Of [`TRIED_WITH`].
    tried_with: Option<Version>,
    kernel: String,
    build: String,
}

/// Tells a file from the one that it is after an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    modified: (i64, i64),
    length: u64,
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        Some(Self { modified: (facts.mtime(), facts.mtime_nsec()), length: facts.len() })
    }
}

/// The host's program that a trial runs, where Linux distributions have it: another one may work where this one does not.
const TRIED_WITH: &str = "/usr/bin/ls";

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    key: Key,
    pub(crate) runtime: Runtime,
    /// How a trial ended.
    availability: Option<Availability>,
    /// When: seconds since 1970.
    tried_s: u64,
}

/// How long a trial that failed counts, seconds: whatever was in its way may be gone, and to try again takes no more than some
/// starts. One that did not fail counts for as long as nothing changes.
const FAILURE_COUNTS_S: u64 = 60;

impl Memory {
    /// What is remembered of the runtime that this program is now.
    pub(crate) fn recall(folder: &RuntimeDir, engine: Engine, program: &Path) -> Option<Self> {
        let memory: Self = serde_json::from_slice(&fs::read(path(folder, engine)).ok()?).ok()?;
        (memory.key == key(program)?).then_some(memory)
    }

    /// How a trial ended, if that still counts. A clock that was set back makes it count no more.
    pub(crate) fn availability(self) -> Option<Availability> {
        let counts = match &self.availability {
            Some(Availability::Unavailable { .. }) => {
                now_s().checked_sub(self.tried_s).is_some_and(|age_s| age_s < FAILURE_COUNTS_S)
            }
            _ => true,
        };
        self.availability.filter(|_| counts)
    }

    /// Remembers it.
    pub(crate) fn keep(folder: &RuntimeDir, runtime: &Runtime, availability: Option<&Availability>) {
        let Some(key) = key(&runtime.path) else { return };
        let availability = availability.cloned();
        let memory = Self { key, runtime: runtime.clone(), availability, tried_s: now_s() };
        let path = path(folder, runtime.engine);
        let beside = path.with_extension(std::process::id().to_string());
        let written = folder
            .prepare()
            .and_then(|()| make_private(&folder.path().join(FOLDER)))
            .and_then(|()| fs::write(&beside, serde_json::to_vec(&memory)?))
            .and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            // The next program finds out for itself.
            fs::remove_file(&beside).ok();
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

const FOLDER: &str = "probes";

fn path(folder: &RuntimeDir, engine: Engine) -> PathBuf {
    folder.path().join(FOLDER).join(format!("{}.json", engine.kind()))
}

fn key(program: &Path) -> Option<Key> {
    let kernel = rustix::system::uname();
    Some(Key {
        program: program.to_owned(),
        is: Version::of(program)?,
        tried_with: Version::of(Path::new(TRIED_WITH)),
        kernel: format!("{} {}", kernel.release().to_string_lossy(), kernel.version().to_string_lossy()),
        build: agentkernel_link::GUEST_BUILD.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_in_its_place_is_not_taken_for_it() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = RuntimeDir::locate(Some(home.path()), None, 0);
        let program = home.path().join("runsc");
        fs::write(&program, "one").expect("written");
        let runtime = Runtime {
            engine: Engine::Gvisor,
            path: program.clone(),
            version: "1".into(),
            platform: None,
            flags: Vec::new(),
        };
        assert_eq!(Memory::recall(&folder, Engine::Gvisor, &program), None);
        let works = Availability::Available { facts: Vec::new() };
        Memory::keep(&folder, &runtime, Some(&works));
        let memory = Memory::recall(&folder, Engine::Gvisor, &program).expect("remembered");
        assert_eq!((memory.runtime.clone(), memory.availability()), (runtime, Some(works)));
        assert_eq!(Memory::recall(&folder, Engine::Runc, &program), None);
        fs::write(&program, "another").expect("written");
        assert_eq!(Memory::recall(&folder, Engine::Gvisor, &program), None);
    }

    #[test]
    fn a_trial_that_failed_counts_for_a_while_and_one_that_did_not_for_good() {
        let program = PathBuf::from("/proc/self/exe");
        let runtime = Runtime {
            engine: Engine::Runc,
            path: program.clone(),
            version: "1".into(),
            platform: None,
            flags: Vec::new(),
        };
        let of = |availability: &Availability, age_s: i64| {
            let tried_s = now_s().saturating_add_signed(-age_s);
            let (key, runtime) = (key(&program).expect("a key"), runtime.clone());
            Memory { key, runtime, availability: Some(availability.clone()), tried_s }.availability()
        };
        let failed = Availability::Unavailable { needs: "a moon".into(), hint: "wait".into() };
        assert_eq!(of(&failed, 1), Some(failed.clone()));
        for age_s in [FAILURE_COUNTS_S.cast_signed(), -3600] {
            assert_eq!(of(&failed, age_s), None, "{age_s} s");
        }
        let works = Availability::Available { facts: Vec::new() };
        assert_eq!(of(&works, 1 << 30), Some(works.clone()));
    }
}
