//! Where the host has its programs.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders beside /usr that hold programs and libraries: links into it on merged systems.
#[must_use]
pub fn program_folders() -> Vec<(String, Option<PathBuf>)> {
    ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
        .into_iter()
        .filter_map(|name| {
            let path = Path::new("/").join(name);
            let facts = fs::symlink_metadata(&path).ok()?;
            if facts.is_symlink() {
                Some((name.to_owned(), Some(fs::read_link(&path).ok()?)))
            } else {
                facts.is_dir().then(|| (name.to_owned(), None))
            }
        })
        .collect()
}
