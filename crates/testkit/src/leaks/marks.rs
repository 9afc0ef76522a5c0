//! How the leak counter knows what is ours.

use std::path::{Path, PathBuf};

/// What counts as ours. Nothing does, until marks are added.
#[derive(Debug, Clone)]
pub struct Marks {
    pub(super) words: Vec<String>,
    pub(super) ancestors: Vec<u32>,
    pub(super) folders: Vec<PathBuf>,
    pub(super) allowed: fn(&Path) -> bool,
    pub(super) every_namespace: bool,
    pub(super) descriptors: bool,
}

impl Marks {
    /// No mark.
    #[must_use]
    pub fn new() -> Self {
        Self {
            words: Vec::new(),
            ancestors: Vec::new(),
            folders: Vec::new(),
            allowed: |_| false,
            every_namespace: false,
            descriptors: false,
        }
    }

    /// Everything that mentions agentkernel on the whole machine, what lies in `/run/agentkernel`, and
    /// the descendants of this process. For tests that have the machine for themselves.
    #[must_use]
    pub fn agentkernel() -> Self {
        Self::of_this_process().word("agentkernel").folder("/run/agentkernel")
    }

    /// The descendants and the descriptors of this process: for tests that share the machine with others, and have
    /// their process for themselves.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::new().descendants_of(std::process::id()).descriptors()
    }

    /// Everything that mentions `word`: processes by command line, environment, cgroup, program, root or
    /// working directory; cgroups, mounts and unix sockets by path; files in memory and in the shared
    /// folders by name.
    #[must_use]
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// All processes that descend from `pid`, but not `pid` itself.
    #[must_use]
    pub fn descendants_of(mut self, pid: u32) -> Self {
        self.ancestors.push(pid);
        self
    }

    /// Everything that lies in a folder, at any depth.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Files that may stay: the lock files of the uid blocks, for example.
    #[must_use]
    pub fn allow(mut self, allowed: fn(&Path) -> bool) -> Self {
        self.allowed = allowed;
        self
    }

    /// The namespaces of every process on the machine, not only of those that are marked.
    #[must_use]
    pub fn every_namespace(mut self) -> Self {
        self.every_namespace = true;
        self
    }

    /// The descriptors of this process. Not where other programs do the work: the descriptors that come meanwhile are
    /// those of other tests.
    #[must_use]
    pub fn descriptors(mut self) -> Self {
        self.descriptors = true;
        self
    }

    /// Whether some text mentions one of the words.
    pub(super) fn mention(&self, text: &[u8]) -> bool {
        self.words
            .iter()
            .any(|word| !word.is_empty() && text.windows(word.len()).any(|part| part == word.as_bytes()))
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
}
