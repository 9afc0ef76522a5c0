//! What a rule has to work with.

use agentkernel_core::{
    Backend, Booted, Limits, Sandbox, SandboxName, SandboxSpec, SandboxSpecBuilder, Stopped,
};

use super::SuiteOptions;
use super::rule::{Broken, Kept, ensure};
use crate::leaks::{Snapshot, describe};
use crate::random_u64;

/// Where files are made, in every sandbox.
pub const WORKSPACE: &str = "/workspace";

/// The backend under test and how to test it.
pub struct Context<'a> {
    pub backend: &'a dyn Backend,
    pub options: &'a SuiteOptions,
}

impl<'a> Context<'a> {
    pub fn new(backend: &'a dyn Backend, options: &'a SuiteOptions) -> Self {
        Self { backend, options }
    }

    /// Whether the sandbox's kernel is not the host's, and so may tell less of itself.
    pub fn has_own_kernel(&self) -> bool {
        self.options.rules.boundary && !self.options.rules.shared_kernel
    }

    /// A name that nothing else on this host has.
    pub fn fresh_name(&self) -> SandboxName {
        SandboxName::from_random(random_u64())
    }

    /// A description of a sandbox, to be changed by the rule.
    pub fn spec(&self, name: &SandboxName) -> SandboxSpecBuilder {
        SandboxSpec::builder(name.clone(), self.options.profile)
            .image(self.options.image.clone())
            .emulate(self.options.emulate)
            .limits(self.options.limits)
    }

    /// A sandbox like any other.
    pub async fn boot(&self) -> Result<Box<dyn Sandbox>, Broken> {
        self.boot_named(&self.fresh_name()).await
    }

    /// A sandbox of this name.
    pub async fn boot_named(&self, name: &SandboxName) -> Result<Box<dyn Sandbox>, Broken> {
        Ok(self.boot_spec(self.spec(name)).await?.sandbox)
    }

    /// A sandbox with these limits.
    pub async fn boot_limited(&self, limits: Limits) -> Result<Box<dyn Sandbox>, Broken> {
        Ok(self.boot_spec(self.spec(&self.fresh_name()).limits(limits)).await?.sandbox)
    }

    /// A sandbox as described.
    pub async fn boot_spec(&self, spec: SandboxSpecBuilder) -> Result<Booted, Broken> {
        Ok(self.backend.boot(&spec.build()?).await?)
    }

    /// What is on the host before sandboxes of these names are made.
    pub fn snapshot(&self, names: &[&SandboxName]) -> Snapshot {
        let marks = self.options.marks.clone();
        Snapshot::take(&names.iter().fold(marks, |marks, name| marks.word(name.as_str())))
    }

    /// That nothing is left since then.
    pub async fn nothing_left(&self, before: &Snapshot) -> Kept {
        let leaks = before.settled(self.options.settle).await;
        ensure!(leaks.is_empty(), "left on the host:{}", describe(&leaks));
        Ok(())
    }
}

/// Stops a sandbox at the end of a rule.
pub async fn stop(sandbox: Box<dyn Sandbox>) -> Result<Stopped, Broken> {
    Ok(sandbox.stop().await?)
}
