//! The workspace as cargo sees it: its crates, their arrows to each other, its source files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

/// The workspace in whose folder cargo was called.
#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    pub crates: Vec<Crate>,
}

/// One member of the workspace.
#[derive(Debug)]
pub struct Crate {
    pub name: String,
    pub manifest: PathBuf,
    /// Its arrows to other members; crates from a registry are not listed.
    pub dependencies: Vec<Dependency>,
}

/// One arrow from a member to another.
#[derive(Debug)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
}

/// What the arrow is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Normal,
    Build,
    Dev,
}

/// Why the workspace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("cargo metadata did not start: {0}")]
    Spawn(io::Error),
    #[error("cargo metadata failed: {0}")]
    Cargo(String),
    #[error("cargo metadata printed something else than expected: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl Workspace {
    /// Asks cargo.
    pub fn load() -> Result<Self, WorkspaceError> {
        Self::parse(&metadata()?)
    }

    /// Understands what `cargo metadata --format-version 1` prints.
    pub fn parse(metadata: &[u8]) -> Result<Self, WorkspaceError> {
        let metadata: Metadata = serde_json::from_slice(metadata)?;
        let members: BTreeSet<String> = metadata.packages.iter().map(|one| one.name.clone()).collect();
        let crates = metadata.packages.into_iter().map(|one| one.into_crate(&members)).collect();
        Ok(Self { root: metadata.workspace_root, target: metadata.target_directory, crates })
    }

    /// Every Rust file below `folder`, in order; hidden folders and `target` are left out.
    pub fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, WorkspaceError> {
        let mut files = Vec::new();
        collect_rust_files(folder, &mut files)
            .map_err(|source| WorkspaceError::Read { path: folder.to_path_buf(), source })?;
        files.sort();
        Ok(files)
    }

    /// The text of a file.
    pub fn read(path: &Path) -> Result<String, WorkspaceError> {
        fs::read_to_string(path).map_err(|source| WorkspaceError::Read { path: path.to_path_buf(), source })
    }

    /// The path as a reader at the workspace's root would type it.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

impl Crate {
    /// The folder of its manifest.
    pub fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new("."))
    }
}

#[expect(clippy::disallowed_methods, reason = "xtask is a tool of the workspace and asks cargo itself")]
fn metadata() -> Result<Vec<u8>, WorkspaceError> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(WorkspaceError::Spawn)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(WorkspaceError::Cargo(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn collect_rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && name != "target" {
                collect_rust_files(&entry.path(), files)?;
            }
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<PackageDependency>,
}

#[derive(Deserialize)]
struct PackageDependency {
    name: String,
    /// `null` is cargo's word for a normal dependency.
    kind: Option<Kind>,
}

impl Package {
    fn into_crate(self, members: &BTreeSet<String>) -> Crate {
        let dependencies = self
            .dependencies
            .into_iter()
            .filter(|one| members.contains(&one.name))
            .map(|one| Dependency { name: one.name, kind: one.kind.unwrap_or_default() })
            .collect();
        Crate { name: self.name, manifest: self.manifest_path, dependencies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "workspace_root": "/w", "target_directory": "/w/target",
        "packages": [
            {"name": "a", "manifest_path": "/w/a/Cargo.toml", "dependencies": [
                {"name": "serde", "kind": null}, {"name": "b", "kind": null}, {"name": "b", "kind": "dev"}]},
            {"name": "b", "manifest_path": "/w/b/Cargo.toml", "dependencies": []}]}"#;

    #[test]
    fn metadata_becomes_crates_with_arrows_to_members_only() {
        let workspace = Workspace::parse(METADATA.as_bytes()).unwrap();
        let arrows: Vec<_> =
            workspace.crates[0].dependencies.iter().map(|one| (one.name.as_str(), one.kind)).collect();
        assert_eq!(arrows, [("b", Kind::Normal), ("b", Kind::Dev)]);
        assert_eq!(workspace.relative(&workspace.crates[1].manifest), "b/Cargo.toml");
    }

    #[test]
    fn rust_files_are_found_in_order_and_never_in_target() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["src/b.rs", "src/a.rs", "target/c.rs", ".hidden/d.rs", "src/e.txt"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = Workspace::rust_files(folder.path()).unwrap();
        assert_eq!(found, [folder.path().join("src/a.rs"), folder.path().join("src/b.rs")]);
    }
}
