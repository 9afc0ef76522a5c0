//! Bundles for raw runtimes: that of our own sandboxes, once for each sample, on one root folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_oci::engine::Runtime;
use agentkernel_oci::{HostFacts, IdBlock};
use serde_json::{Value, json};

use super::Site;
use crate::refusal::host;
use crate::sandbox::bundle::{ROOTFS, Size};
use crate::sandbox::{Bundle, Group, Source};
use crate::workload::Work;

/// Which bundles are needed.
#[derive(Debug, Clone)]
pub struct Bundles {
    folder: PathBuf,
    runtime: Runtime,
    /// What runs in them.
    work: Vec<String>,
    /// The one that all samples share, where each has none of its own.
    shared: Option<&'static str>,
    folders: Vec<PathBuf>,
}

impl Bundles {
    /// For this runtime.
    #[must_use]
    pub fn of(site: &Site, runtime: &Runtime) -> Self {
        let folder = site.work.join(format!("bundles-{}", runtime.engine.program()));
        Self {
            folder,
            runtime: runtime.clone(),
            work: Vec::new(),
            shared: None,
            folders: site.folders.clone(),
        }
    }

    /// Doing this work, each sample in a bundle of its own, or all of them in one of this name.
    #[must_use]
    pub fn doing(&self, work: Vec<String>, shared: Option<&'static str>) -> Self {
        Self { work, shared, ..self.clone() }
    }

    /// The bundle of this name.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the runtime keeps what it knows of its containers.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Makes the root folder.
    ///
    /// # Errors
    /// It takes root, and a static busybox.
    pub fn stage(&self) -> Result<Staged> {
        let host_facts = HostFacts::gather();
        if !host_facts.root {
            let why = "only root can make the bundle's ids, groups and mounts";
            return Err(
                Error::new(ErrorKind::Unavailable, "stage bundles", why).hint("run it as root (sudo)")
            );
        }
        let busybox = agentkernel_process::locate("busybox", &self.folders).ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "stage bundles", "there is no static busybox")
                .hint("apt-get install busybox-static")
        })?;
        let failed = |why: io::Error| host("stage bundles", self.folder.display(), why);
        let block = IdBlock::borrow()?;
        let bundle = Bundle::new(&host_facts, &block, Size::default(), &self.runtime)?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(failed)?;
        }
        fs::create_dir(&self.folder).map_err(failed)?;
        Source::Busybox(busybox).stage(&self.folder.join(ROOTFS)).map_err(failed)?;
        let staged = Staged { bundles: self.clone(), bundle, block: Some(block) };
        self.shared.map_or(Ok(()), |name| staged.make(name)).map_err(failed)?;
        Ok(staged)
    }
}

/// Bundles that can be made now.
#[derive(Debug)]
pub struct Staged {
    bundles: Bundles,
    bundle: Bundle,
    block: Option<IdBlock>,
}

impl Staged {
    /// Whether each sample has one of its own.
    #[must_use]
    pub fn is_per_sample(&self) -> bool {
        self.bundles.shared.is_none()
    }

    /// Makes the bundle of this name.
    ///
    /// # Errors
    /// Its folder cannot be written.
    pub fn make(&self, name: &str) -> io::Result<()> {
        let work = Work { words: self.bundles.work.clone(), says: None, waits: false, is_timed: false };
        let mut config: Value = serde_json::from_slice(&self.bundle.with(&work))?;
        config["root"]["path"] = json!(self.bundles.folder.join(ROOTFS));
        config["linux"]["cgroupsPath"] = json!(self.group(name));
        let folder = self.bundles.folder(name);
        fs::create_dir(&folder)?;
        fs::write(folder.join("config.json"), config.to_string())
    }

    fn group(&self, name: &str) -> String {
        format!("{}-{name}", self.bundle.group)
    }

    /// Removes it, and gives what its container has left.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<Vec<String>> {
        let left = Group::at(&self.group(name))?.end()?;
        remove(&self.bundles.folder(name))?;
        Ok(left)
    }

    /// Removes all of it, and gives what a container that all samples shared has left.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub fn end(&mut self) -> io::Result<Vec<String>> {
        let left = self.bundles.shared.map_or(Ok(Vec::new()), |name| self.remove(name));
        remove(&self.bundles.folder)?;
        self.block.take().map_or(Ok(()), IdBlock::give_back)?;
        left
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
