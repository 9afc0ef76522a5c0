//! Where locks and records of live sandboxes are.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Folder of the user-id blocks. One for the host, whatever AGENTKERNEL_HOME says: two programs
/// with different homes must not hand out the same block.
pub(crate) const ID_BLOCKS: &str = "/run/agentkernel/ids";

/// The runtime folder: it holds a locked record for each live sandbox and nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// The folder for a user: `home`/run if a home is given, else `/run/agentkernel` for root, else
    /// `$XDG_RUNTIME_DIR/agentkernel`, else `/tmp/agentkernel-UID`.
    #[must_use]
    pub fn locate(home: Option<&Path>, xdg_runtime_dir: Option<&Path>, uid: u32) -> Self {
        Self(match (home, xdg_runtime_dir) {
            (Some(home), _) => home.join("run"),
            (None, _) if uid == 0 => PathBuf::from("/run/agentkernel"),
            (None, Some(xdg)) if xdg.is_absolute() => xdg.join("agentkernel"),
            (None, _) => PathBuf::from(format!("/tmp/agentkernel-{uid}")),
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the records are.
    pub(crate) fn records(&self) -> PathBuf {
        self.0.join("sandboxes")
    }

    /// Makes the folders, private to the user, and refuses a folder that belongs to somebody else
    /// (in /tmp anybody could have made it first).
    pub(crate) fn prepare(&self) -> io::Result<()> {
        make_private(&self.0)?;
        make_private(&self.records())
    }
}

/// Makes a folder of mode 0700, or checks that an existing one is a real folder of ours.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let facts = std::fs::symlink_metadata(path)?;
    let ours = rustix::process::geteuid().as_raw();
    if !facts.is_dir() || facts.uid() != ours {
        return Err(io::Error::other(format!(
            "{} is not a folder of user {ours}; remove it, or set AGENTKERNEL_HOME to a folder of yours",
            path.display()
        )));
    }
    Ok(())
}
