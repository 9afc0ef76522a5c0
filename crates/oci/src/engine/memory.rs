//! What was found out about a runtime, for the next program: to ask it costs as much as to start a container, and to try it
//! ten times that. Whatever could change the answers is part of the key; what cannot be read or written is found out anew.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use agentkernel_core::Availability;
use serde::{Deserialize, Serialize};

use super::{Engine, Runtime};
use crate::paths::{RuntimeDir, make_private};

/// Names this file, this kernel and this build of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    program: PathBuf,
    modified: (i64, i64),
    length: u64,
    kernel: String,
    build: String,
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    key: Key,
    pub(crate) runtime: Runtime,
    /// How a trial ended.
    pub(crate) availability: Option<Availability>,
}

impl Memory {
    /// What is remembered of the runtime that this program is now.
    pub(crate) fn recall(folder: &RuntimeDir, engine: Engine, program: &Path) -> Option<Self> {
        let memory: Self = serde_json::from_slice(&fs::read(path(folder, engine)).ok()?).ok()?;
        (memory.key == key(program)?).then_some(memory)
    }

    /// Remembers it.
    pub(crate) fn keep(folder: &RuntimeDir, runtime: &Runtime, availability: Option<Availability>) {
        let Some(key) = key(&runtime.path) else { return };
        let memory = Self { key, runtime: runtime.clone(), availability };
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

const FOLDER: &str = "probes";

fn path(folder: &RuntimeDir, engine: Engine) -> PathBuf {
    folder.path().join(FOLDER).join(format!("{}.json", engine.kind()))
}

fn key(program: &Path) -> Option<Key> {
    let facts = fs::metadata(program).ok()?;
    let kernel = rustix::system::uname();
    Some(Key {
        program: program.to_owned(),
        modified: (facts.mtime(), facts.mtime_nsec()),
        length: facts.len(),
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
        Memory::keep(&folder, &runtime, Some(works.clone()));
        let memory = Memory::recall(&folder, Engine::Gvisor, &program).expect("remembered");
        assert_eq!((memory.runtime, memory.availability), (runtime, Some(works)));
        assert_eq!(Memory::recall(&folder, Engine::Runc, &program), None);
        fs::write(&program, "another").expect("written");
        assert_eq!(Memory::recall(&folder, Engine::Gvisor, &program), None);
    }
}
