//! What works on this host, and what the rest needs.

use std::fs;

use agentkernel_core::{Availability, BackendKind};
use agentkernel_kvm::KvmLevel;
use agentkernel_oci::HostFacts;
use serde::{Deserialize, Serialize};

use crate::registry::Registry;

/// Everything that doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Each backend, strongest boundary first.
    pub backends: Vec<BackendDiagnosis>,
    /// The host beneath them.
    pub host: HostPosture,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendDiagnosis {
    /// Which one.
    pub backend: BackendKind,
    /// What it is, in one line.
    pub description: String,
    /// Whether it works, found by trying.
    #[serde(flatten)]
    pub availability: Availability,
}

/// What the host offers to every backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPosture {
    /// Release of the kernel.
    pub kernel: String,
    /// Architecture of the processor.
    pub architecture: String,
    /// Whether we run as root, with ids of its own for each sandbox.
    pub root: bool,
    /// Whether this user may make user namespaces; if not, why.
    pub user_namespaces: Answer,
    /// Whether system calls can be filtered; if not, why.
    pub seccomp: Answer,
    /// Control groups.
    pub cgroups: Cgroups,
    /// Virtual machines.
    pub kvm: KvmLevel,
    /// Whether there is swap space on the host. Sandboxes get none of it.
    pub swap: bool,
}

/// Control groups of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// `v1`, `v1 (hybrid)`, `v2`, or why there are none.
    pub version: String,
    /// Whether this user may make groups with every controller that limits need.
    pub writable: bool,
}

/// Yes, or no with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It works.
    Yes,
    /// It does not.
    No {
        /// Why.
        why: String,
    },
}

impl Answer {
    fn yes_unless(obstacle: Option<String>) -> Self {
        obstacle.map_or(Self::Yes, |why| Self::No { why })
    }
}

impl Diagnosis {
    /// Whether any backend works.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.backends.iter().any(|backend| backend.availability.is_available())
    }
}

/// Tries everything.
pub async fn examine(registry: &Registry) -> Diagnosis {
    let mut backends = Vec::new();
    for backend in registry.all() {
        backends.push(BackendDiagnosis {
            backend: backend.kind(),
            description: backend.kind().description().into(),
            availability: backend.probe().await,
        });
    }
    Diagnosis { backends, host: HostPosture::gather() }
}

impl HostPosture {
    /// Looks at the host; of KVM, runs a guest.
    #[must_use]
    pub fn gather() -> Self {
        let facts = HostFacts::gather();
        Self {
            kernel: facts.kernel.clone(),
            architecture: std::env::consts::ARCH.into(),
            root: facts.root,
            user_namespaces: Answer::yes_unless(namespaces_obstacle(facts.root)),
            seccomp: Answer::yes_unless(seccomp_obstacle()),
            cgroups: Cgroups { version: facts.hierarchy.describe(), writable: facts.can_limit() },
            kvm: agentkernel_kvm::probe(),
            swap: facts.swap,
        }
    }
}

/// What the settings of the kernel forbid. Containers that forbid more are found by the backends' probes.
fn namespaces_obstacle(root: bool) -> Option<String> {
    let is = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    if fs::metadata("/proc/self/ns/user").is_err() {
        return Some("the kernel was built without them".into());
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some("user.max_user_namespaces is 0".into());
    }
    if root {
        return None;
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some("kernel.unprivileged_userns_clone is 0".into());
    }
    is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
        .then(|| "kernel.apparmor_restrict_unprivileged_userns is 1".into())
}

fn seccomp_obstacle() -> Option<String> {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "errno") => None,
        Ok(actions) => Some(format!("the kernel offers only: {}", actions.trim())),
        Err(why) => Some(format!("/proc/sys/kernel/seccomp/actions_avail: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_is_what_the_kernel_says() {
        let host = HostPosture::gather();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("release");
        assert_eq!(host.kernel, release.trim());
    }

    #[test]
    fn without_a_working_backend_it_is_not_usable() {
        let backend = |availability| BackendDiagnosis {
            backend: BackendKind::Oci,
            description: String::new(),
            availability,
        };
        let works = Availability::Available { facts: Vec::new() };
        let fails = Availability::Unavailable { needs: "x".into(), hint: "y".into() };
        let mut diagnosis = Diagnosis { backends: vec![backend(fails)], host: HostPosture::gather() };
        assert!(!diagnosis.is_usable());
        diagnosis.backends.push(backend(works));
        assert!(diagnosis.is_usable());
    }
}
