//! Where root folders come from, as it was asked for.

use std::fs;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};

use super::Arguments;
use crate::image::{self, Engine, Name};
use crate::refusal::host;
use crate::sandbox::Source;

/// In the folder of a run's own, what an image is unpacked into.
const IMAGE: &str = "image";

/// What is there already, or can be got.
pub enum Origin {
    /// It is there.
    Ready(Source),
    /// An engine that answers is to be asked for an image.
    Image(Engine, Name),
}

impl Origin {
    /// What was asked for, or why there is no such thing.
    pub fn of(arguments: &Arguments) -> Result<Self> {
        if let Some(name) = &arguments.image {
            let engine = Engine::find(&arguments.path, &arguments.engine).map_err(|why| why.on(name))?;
            return Ok(Self::Image(engine, name.clone()));
        }
        if let Some(folder) = &arguments.rootfs {
            let folder = fs::canonicalize(folder)
                .map_err(|why| host("find the root folder", folder.display(), why))?;
            return Ok(Self::Ready(Source::Folder(folder)));
        }
        let is_static = |path: &PathBuf| path.is_file();
        let busybox = arguments.folders.iter().map(|folder| folder.join("busybox")).find(is_static);
        busybox.map(Source::Busybox).map(Self::Ready).ok_or_else(|| {
            let why = "it needs a static busybox, and there is none";
            Error::new(ErrorKind::Unavailable, "make a root folder", why)
                .on("busybox")
                .hint("apt-get install busybox-static, or name a root folder by BENCH_ROOTFS")
        })
    }

    /// What root folders are made of. An image is unpacked below `work` for that.
    pub fn source(self, work: &Path) -> Result<Source> {
        match self {
            Self::Ready(source) => Ok(source),
            Self::Image(engine, name) => {
                let folder = work.join(IMAGE);
                let image = image::fetch(&engine, &name, &folder)?;
                Ok(Source::Image(folder, image))
            }
        }
    }
}
