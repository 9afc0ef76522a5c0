//! To what a backend is held, and how strictly.

use std::time::Duration;

use agentkernel_core::{Backend, BackendKind, Image, Limits, Profile};

use super::rule::Needs;
use crate::leaks::Marks;
use crate::require::patiently;

/// How long a rule that is known to be broken is waited for: several times as long as any takes where it holds.
const HOPELESS: Duration = Duration::from_secs(10);

/// How the suite runs.
#[derive(Debug, Clone)]
pub struct SuiteOptions {
    /// Which rules apply.
    pub rules: Rules,
    /// Only rules whose names begin with one of these; all if empty.
    pub only: Vec<String>,
    /// No rule takes longer than this.
    pub deadline: Duration,
    /// Rules that are known to be broken, which nobody waits for that long.
    pub hopeless: &'static [&'static str],
    /// How long the kernel may take to remove what was taken down.
    pub settle: Duration,
    /// What counts as left behind; the name of each sandbox is added.
    pub marks: Marks,
    /// Profile of every sandbox.
    pub profile: Profile,
    /// Limits of every sandbox, where a rule does not set its own. A limit that is `Unlimited` here, since
    /// this host cannot enforce it, is held to no rule.
    pub limits: Limits,
    /// What every sandbox is filled with.
    pub image: Image,
    /// Whether a machine may be emulated.
    pub emulate: bool,
}

impl SuiteOptions {
    /// How long a rule may take.
    pub(super) fn deadline_of(&self, rule: &str) -> Duration {
        if self.hopeless.contains(&rule) { self.deadline.min(HOPELESS) } else { self.deadline }
    }

    /// What a backend claims, with the default profile and the host's image.
    #[must_use]
    pub fn for_backend(backend: &dyn Backend) -> Self {
        let profile = Profile::Restrictive;
        let mut options = Self {
            rules: Rules::for_backend(backend),
            only: Vec::new(),
            deadline: patiently(Duration::from_secs(30)),
            hopeless: &[],
            settle: patiently(Duration::from_secs(5)),
            marks: Marks::of_this_process(),
            profile,
            limits: Limits::of(profile),
            image: Image::Host,
            emulate: false,
        };
        options.set_limits(options.limits);
        options
    }

    /// The same with other limits, and without the rules for those that are unlimited.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.set_limits(limits);
        self
    }

    /// The same with only the rules whose names begin so.
    #[must_use]
    pub fn only(mut self, prefix: impl Into<String>) -> Self {
        self.only.push(prefix.into());
        self
    }

    fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.rules.memory &= limits.memory.value().is_some();
        self.rules.resize_memory &= limits.memory.value().is_some();
        self.rules.cpus &= limits.cpus.value().is_some();
        self.rules.resize_cpus &= limits.cpus.value().is_some();
        self.rules.pids &= limits.pids.value().is_some();
    }

    pub(super) fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// What a backend is held to, apart from the rules that hold everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// It isolates and limits.
    pub boundary: bool,
    /// It shares the host's kernel, so that namespaces can be compared.
    pub shared_kernel: bool,
    /// It has terminals.
    pub terminal: bool,
    /// Every sandbox has uids of its own. Not so where an ordinary user has no range of subordinate ids.
    pub uid_blocks: bool,
    /// It can limit memory here.
    pub memory: bool,
    /// It can limit processors here.
    pub cpus: bool,
    /// It can limit processes here.
    pub pids: bool,
    /// It can change the memory of a live sandbox here.
    pub resize_memory: bool,
    /// It can change the processors of a live sandbox here.
    pub resize_cpus: bool,
    /// It stops time.
    pub pause: bool,
    /// Its sandboxes can outlive whoever holds them.
    pub adopt: bool,
    /// Its sandboxes can be kept as snapshots.
    pub snapshots: bool,
    /// A command can be run in its sandboxes once before anybody gets them.
    pub warm_up: bool,
}

impl Rules {
    /// What follows from a backend's kind and capabilities. Every backend but the fake is a boundary.
    #[must_use]
    pub fn for_backend(backend: &dyn Backend) -> Self {
        let boundary = backend.kind() != BackendKind::Fake;
        let capabilities = backend.capabilities();
        Self {
            boundary,
            shared_kernel: boundary && !capabilities.own_kernel,
            terminal: capabilities.terminal,
            uid_blocks: boundary && !capabilities.own_kernel,
            memory: boundary,
            cpus: boundary,
            pids: boundary,
            resize_memory: capabilities.resize,
            resize_cpus: boundary && capabilities.resize,
            pause: capabilities.pause,
            adopt: capabilities.adopt,
            snapshots: capabilities.snapshots,
            warm_up: capabilities.warm_up,
        }
    }

    /// Why rules with this need do not apply, if they do not.
    pub(super) fn without(&self, needs: Needs) -> Option<&'static str> {
        let (has, why) = match needs {
            Needs::Nothing => (true, ""),
            Needs::Terminal => (self.terminal, "the backend has no terminals"),
            Needs::Boundary => (self.boundary, "the backend is no boundary"),
            Needs::SharedKernel => (self.shared_kernel, "the backend has no namespaces of this kernel"),
            Needs::UidBlocks => (self.uid_blocks, "sandboxes have no uids of their own here"),
            Needs::Memory => (self.memory, "memory cannot be limited here"),
            Needs::Cpus => (self.cpus, "processors cannot be limited here"),
            Needs::Pids => (self.pids, "processes cannot be limited here"),
            Needs::ResizeMemory => (self.resize_memory, "memory of a live sandbox cannot be changed here"),
            Needs::ResizeCpus => (self.resize_cpus, "processors of a live sandbox cannot be changed here"),
            Needs::Pause => (self.pause, "time cannot be stopped here"),
            Needs::Adopt => (self.adopt, "sandboxes do not outlive their holder here"),
            Needs::WarmUp => (self.warm_up, "nothing that a command leaves would be found by the next"),
            Needs::Snapshots => (self.snapshots, "sandboxes cannot be kept as snapshots"),
            Needs::PauseAndAdopt => {
                (self.pause && self.adopt, "a paused sandbox does not outlive its holder here")
            }
        };
        (!has).then_some(why)
    }
}
