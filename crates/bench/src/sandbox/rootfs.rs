//! Root folders: where they come from, and how one is staged for a launch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_process::Program;
use sha2::{Digest, Sha256};

use crate::image::Image;
use crate::{text, workload};

/// Folders that a sandbox provides itself, with their permission bits: what the source has there is not looked at.
const OWN_FOLDERS: &[(&str, u32)] =
    &[("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o755), ("workspace", 0o755), ("run", 0o755)];

/// How long busybox may take to say what it can do.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a root folder comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Made of this static busybox.
    Busybox(PathBuf),
    /// A copy of this folder.
    Folder(PathBuf),
    /// Likewise, and an image was unpacked there.
    Image(PathBuf, Image),
    /// Nothing but what is measured.
    Bare,
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busybox(program) => write!(out, "made of {}", program.display()),
            Self::Folder(folder) => write!(out, "a copy of {}", folder.display()),
            Self::Image(_, image) => image.fmt(out),
            Self::Bare => out.write_str("nothing but what is measured"),
        }
    }
}

impl Source {
    /// The image that it is, if it is one.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        match self {
            Self::Image(_, image) => Some(image),
            Self::Busybox(_) | Self::Folder(_) | Self::Bare => None,
        }
    }

    /// Makes a root folder at `root`, which does not exist yet.
    pub fn stage(&self, root: &Path) -> io::Result<()> {
        folder(root, 0o755)?;
        for (name, mode) in OWN_FOLDERS {
            folder(&root.join(name), *mode)?;
        }
        match self {
            Self::Busybox(program) => busybox(program, root)?,
            Self::Folder(source) | Self::Image(source, _) => {
                let own = OWN_FOLDERS.iter().map(|(name, _)| *name).collect();
                copy_entries(source, root, &own, &mut BTreeMap::new())?;
            }
            Self::Bare => {}
        }
        let program = at(root, workload::PLACE);
        // A link that the source has there would lead out of the folder.
        let made = fs::File::create_new(&program).and_then(|mut file| file.write_all(workload::PROGRAM));
        made.map_err(|why| on(&program, &why))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        folder(&at(root, workload::OPEN_FOLDER), 0o777)?;
        tree(&at(root, workload::TREE))
    }
}

fn at(root: &Path, place: &str) -> PathBuf {
    root.join(place.trim_start_matches('/'))
}

fn folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The program, and a name for everything that it can do.
fn busybox(program: &Path, root: &Path) -> io::Result<()> {
    let bin = root.join("bin");
    folder(&bin, 0o755)?;
    let copy = bin.join("busybox");
    fs::copy(program, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let names = Program::new(program)?.argument("--list").output(DEADLINE)?;
    let mut names =
        names.lines().filter(|name| !name.contains('/') && !name.is_empty() && *name != "busybox");
    names.try_for_each(|name| symlink("busybox", bin.join(name)))
}

/// Folders with files of 0, 1, 2 … bytes.
fn tree(root: &Path) -> io::Result<()> {
    folder(root, 0o755)?;
    for number in 0..workload::TREE_FOLDERS {
        let inner = root.join(format!("folder-{number}"));
        folder(&inner, 0o755)?;
        for length in 0..workload::TREE_FILES {
            let content = vec![b'x'; usize::try_from(length).map_err(io::Error::other)?];
            fs::write(inner.join(format!("file-{length}")), content)?;
        }
    }
    Ok(())
}

/// The first copy of each file that has several names, by its device and number: an image of busybox has one program of
/// four hundred names.
type Copies = BTreeMap<(u64, u64), PathBuf>;

fn copy_entries(from: &Path, to: &Path, except: &BTreeSet<&str>, copies: &mut Copies) -> io::Result<()> {
    for entry in fs::read_dir(from).map_err(|why| on(from, &why))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| except.contains(name)) {
            continue;
        }
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        copy_one(&source, copy, copies).map_err(|why| on(&source, &why))?;
    }
    Ok(())
}

fn copy_one(source: &Path, copy: PathBuf, copies: &mut Copies) -> io::Result<()> {
    let facts = fs::symlink_metadata(source)?;
    if facts.is_symlink() {
        symlink(fs::read_link(source)?, copy)
    } else if facts.is_dir() {
        folder(&copy, facts.permissions().mode() & 0o7777)?;
        copy_entries(source, &copy, &BTreeSet::new(), copies)
    } else if facts.is_file() {
        let number = (facts.dev(), facts.ino());
        if let Some(first) = copies.get(&number) {
            return fs::hard_link(first, copy);
        }
        fs::copy(source, &copy)?;
        if facts.nlink() > 1 {
            copies.insert(number, copy);
        }
        Ok(())
    } else {
        Err(io::Error::other("it is neither a file nor a folder nor a link"))
    }
}

/// Says it of the path, unless it was said of one below already.
fn on(path: &Path, why: &io::Error) -> io::Error {
    let told = why.to_string();
    let is_told = told.starts_with(&path.display().to_string());
    io::Error::new(why.kind(), if is_told { told } else { format!("{}: {told}", path.display()) })
}

/// The digest of all names, permission bits and contents below a folder.
pub fn digest(root: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    add(root, Path::new(""), &mut hash)?;
    Ok(text::hexadecimal(hash.finalize().as_slice()))
}

fn add(root: &Path, relative: &Path, hash: &mut Sha256) -> io::Result<()> {
    let path = root.join(relative);
    let facts = fs::symlink_metadata(&path)?;
    let content = if facts.is_symlink() {
        fs::read_link(&path)?.as_os_str().as_encoded_bytes().to_vec()
    } else if facts.is_file() {
        fs::read(&path)?
    } else {
        Vec::new()
    };
    // With their lengths: no two folders are the same sequence of bytes.
    for part in [relative.as_os_str().as_encoded_bytes(), &content] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(facts.permissions().mode().to_le_bytes());
    if !facts.is_dir() {
        return Ok(());
    }
    let names = fs::read_dir(&path)?.map(|entry| entry.map(|entry| relative.join(entry.file_name())));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    names.iter().try_for_each(|name| add(root, name, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_but_what_the_sandbox_provides_and_the_same_digest_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        for name in ["bin/deep", "proc", "etc"] {
            fs::create_dir_all(source.join(name)).expect("made");
        }
        fs::write(source.join("bin/deep/file"), "content").expect("written");
        fs::write(source.join("proc/secret"), "x").expect("written");
        symlink("bin", source.join("sbin")).expect("linked");
        fs::hard_link(source.join("bin/deep/file"), source.join("etc/same")).expect("linked");
        let staged = |name: &str| {
            let root = folder.path().join(name);
            Source::Folder(source.clone()).stage(&root).expect("staged");
            root
        };
        let (one, two) = (staged("one"), staged("two"));
        assert_eq!(fs::read_to_string(one.join("bin/deep/file")).expect("copied"), "content");
        assert_eq!(fs::read_link(one.join("sbin")).expect("a link"), Path::new("bin"));
        assert!(!one.join("proc/secret").exists());
        let number = |path: &str| fs::metadata(one.join(path)).expect("copied").ino();
        assert_eq!(number("etc/same"), number("bin/deep/file"));
        assert_eq!(digest(&one).expect("a digest"), digest(&two).expect("a digest"));
        fs::write(two.join("bin/deep/file"), "CONTENT").expect("written");
        assert_ne!(digest(&one).expect("a digest"), digest(&two).expect("a digest"));
    }

    #[test]
    fn a_link_in_the_place_of_the_program_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, outside) = (folder.path().join("source"), folder.path().join("outside"));
        fs::create_dir(&source).expect("made");
        fs::write(&outside, "content").expect("written");
        symlink(&outside, at(&source, workload::PLACE)).expect("linked");
        let refused = Source::Folder(source).stage(&folder.path().join("root")).expect_err("refused");
        assert!(refused.to_string().contains(workload::PLACE), "{refused}");
        assert_eq!(fs::read_to_string(outside).expect("read"), "content");
    }

    #[test]
    fn what_cannot_be_copied_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        fs::create_dir(&source).expect("made");
        drop(std::os::unix::net::UnixListener::bind(source.join("socket")).expect("bound"));
        let refused = Source::Folder(source).stage(&folder.path().join("root")).expect_err("a socket");
        assert!(refused.to_string().contains("socket: it is neither a file"), "{refused}");
    }
}
