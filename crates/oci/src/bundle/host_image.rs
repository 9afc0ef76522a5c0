//! The `host` image: the host's own programs and libraries, and an /etc that says nothing about it.

use std::path::{Path, PathBuf};

use agentkernel_core::SandboxSpec;
use agentkernel_hardening::{etc, lists};

use super::{HostLayout, ROOTFS, own_folder, own_places};
use crate::plan::{BindOptions, Step};

/// The steps that build it.
pub(super) fn steps(spec: &SandboxSpec, layout: &HostLayout) -> Vec<Step> {
    let mut steps = vec![Step::Bind {
        path: Path::new(ROOTFS).join("usr"),
        source: "/usr".into(),
        options: BindOptions::READ_ONLY,
    }];
    for (name, link) in &layout.folders {
        let path = Path::new(ROOTFS).join(name);
        steps.push(match link {
            Some(target) => Step::Link { path, target: target.clone() },
            None => Step::Bind { path, source: Path::new("/").join(name), options: BindOptions::READ_ONLY },
        });
    }
    steps.extend(own_places());
    steps.extend(lists::EMPTY_FOLDERS.iter().map(|(name, mode)| own_folder(name, *mode)));
    steps.push(Step::Link { path: root("var/tmp"), target: "../tmp".into() });
    steps.extend(etc(spec));
    steps
}

fn root(path: &str) -> PathBuf {
    Path::new(ROOTFS).join(path)
}

fn etc(spec: &SandboxSpec) -> Vec<Step> {
    let files = etc::files(spec.user(), spec.hostname());
    let mut steps: Vec<Step> =
        files.into_iter().map(|(path, content)| Step::File { path: root(path), content }).collect();
    for (path, target) in etc::LINKS {
        steps.push(Step::Link { path: root(path), target: target.into() });
    }
    steps.push(Step::Folder { path: root("etc/ssl"), mode: 0o755 });
    steps.extend(etc::HOST_FOLDERS.iter().map(|name| {
        let (path, source) = etc_of_the_host(name);
        Step::Bind { path, source, options: BindOptions::IF_PRESENT }
    }));
    steps.extend(etc::HOST_FILES.iter().map(|name| {
        let (path, source) = etc_of_the_host(name);
        Step::Copy { path, source }
    }));
    steps
}

/// Where it goes, and where it is.
fn etc_of_the_host(name: &str) -> (PathBuf, PathBuf) {
    (root("etc").join(name), Path::new("/etc").join(name))
}
