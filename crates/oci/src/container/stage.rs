//! Builds the stage: a tmpfs in the container's own mount namespace with the sandbox's root in it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};

use crate::bundle::ROOTFS;
use crate::engine::Engine;
use crate::plan::{BindOptions, Launch, Owners, Plan, Step};
use crate::sys;

use super::idmap::IdMaps;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {why}")]
pub(super) struct StageError {
    what: &'static str,
    path: String,
    why: io::Error,
}

type Result<T> = std::result::Result<T, StageError>;

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StageError {
    let path = path.display().to_string();
    move |why| StageError { what, path, why }
}

/// Something of the host, opened or read before the stage covers the place where it may be.
enum Source {
    /// A tree or a file, as a detached mount.
    Mount { path: PathBuf, mount: OwnedFd, is_dir: bool },
    /// A symbolic link, which is made anew.
    Link { path: PathBuf, target: PathBuf },
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::Mount { path, .. } | Self::Link { path, .. } => path,
        }
    }
}

/// Builds the whole stage below `at`, as the files of `owner`, who is root inside. The caller is in a mount
/// namespace of its own.
pub(super) fn build(plan: &Plan, maps: &IdMaps, owner: (u32, u32), at: &Path) -> Result<()> {
    // First every source is opened, then the stage is mounted: it covers a folder of the host.
    let sources = plan.stage.iter().map(|step| open_sources(step, maps)).collect::<Result<Vec<_>>>()?;
    let copies = plan.stage.iter().map(read_copy).collect::<Result<Vec<_>>>()?;
    let options = format!("mode=0711,size=16m,uid={},gid={}", owner.0, owner.1);
    let mounted = CString::new(options)
        .map_err(io::Error::other)
        .and_then(|options| Ok(mount("agentkernel", at, "tmpfs", flags(plan), Some(&*options))?));
    mounted.map_err(failed("mount the stage on", at))?;
    sys::as_file_system_user(owner.0, owner.1, || {
        for ((step, sources), copy) in plan.stage.iter().zip(sources).zip(copies) {
            match (step, copy) {
                (Step::Copy { path, .. }, Some(content)) => {
                    fs::write(at.join(path), content).map_err(failed("write", path))?;
                }
                _ => make(step, &sources, at)?,
            }
        }
        Ok(())
    })
}

/// Nothing on the stage is a device or has set-id bits in any case. gVisor's gofer makes it read-only from within a
/// user namespace, where a mount's flags can only be kept by whoever names them, and it names none.
fn flags(plan: &Plan) -> MountFlags {
    match &plan.launch {
        Launch::Program(launcher) if launcher.engine == Engine::Gvisor => MountFlags::empty(),
        Launch::Program(_) | Launch::Embedded => MountFlags::NOSUID | MountFlags::NODEV,
    }
}

/// Longest file that is copied, in bytes; a longer one is left out. The list of libraries of a large
/// desktop has some hundred thousand.
const COPY_MAX: u64 = 4 << 20;

/// The content of a file that is to be copied, if it is there and everybody may read it.
fn read_copy(step: &Step) -> Result<Option<Vec<u8>>> {
    let Step::Copy { source, .. } = step else { return Ok(None) };
    let facts = match fs::metadata(source) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("copy", source)(error)),
    };
    let public = facts.is_file() && facts.mode() & 0o004 != 0 && facts.len() <= COPY_MAX;
    if public { fs::read(source).map(Some).map_err(failed("copy", source)) } else { Ok(None) }
}

fn open_sources(step: &Step, maps: &IdMaps) -> Result<Vec<Source>> {
    match step {
        Step::Bind { source, options, .. } => Ok(open_source(source, *options, maps)?.into_iter().collect()),
        Step::Entries { source, except, .. } => open_entries(source, except, maps),
        Step::Folder { .. }
        | Step::Link { .. }
        | Step::File { .. }
        | Step::Copy { .. }
        | Step::MountPoint { .. } => Ok(Vec::new()),
    }
}

/// The entries of a root folder.
fn open_entries(folder: &Path, except: &[String], maps: &IdMaps) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("list the root folder", folder))? {
        let entry = entry.map_err(failed("list the root folder", folder))?;
        let provided = entry.file_name().to_str().is_some_and(|name| except.iter().any(|own| own == name));
        let path = entry.path();
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        if provided {
            continue;
        }
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed("read the link", &path))?;
            sources.push(Source::Link { path, target });
        } else if kind.is_dir() || kind.is_file() {
            let options = BindOptions { owners: Owners::Same, ..BindOptions::READ_ONLY };
            sources.extend(open_source(&path, options, maps)?);
        }
    }
    Ok(sources)
}

fn open_source(source: &Path, options: BindOptions, maps: &IdMaps) -> Result<Option<Source>> {
    let facts = match fs::metadata(source) {
        Ok(facts) => facts,
        Err(error) if options.optional && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("mount", source)(error)),
    };
    if !facts.is_dir() && !facts.is_file() {
        let why = io::Error::other("only folders and regular files can be mounted");
        return Err(failed("mount", source)(why));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(CWD, source, flags).map_err(|error| failed("open", source)(error.into()))?;
    set_attributes(&mount, source, options, maps, (facts.uid(), facts.gid()))?;
    Ok(Some(Source::Mount { path: source.to_owned(), mount, is_dir: facts.is_dir() }))
}

/// Nothing mounted into a sandbox honours set-id bits or device files; what is read-only is so for
/// every mount below it as well.
fn set_attributes(
    mount: &OwnedFd,
    source: &Path,
    options: BindOptions,
    maps: &IdMaps,
    owner: (u32, u32),
) -> Result<()> {
    let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if options.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    let apply =
        |set: u64, userns: Option<BorrowedFd<'_>>| sys::mount_setattr_recursive(mount.as_fd(), set, userns);
    apply(set, None).map_err(failed("restrict the mount of", source))?;
    let Some(userns) = maps.namespace(options.owners, owner).map_err(failed("map owners for", source))?
    else {
        return Ok(());
    };
    match apply(libc::MOUNT_ATTR_IDMAP, Some(userns)) {
        Ok(()) => Ok(()),
        // A file system that cannot map owners shows them as nobody: enough for reading what
        // everybody may read, not for a mount that is to be written to.
        Err(_) if options.read_only => Ok(()),
        Err(error) => {
            Err(failed("map owners (its file system cannot; add :ro, or copy instead) for", source)(error))
        }
    }
}

fn make(step: &Step, sources: &[Source], stage: &Path) -> Result<()> {
    match step {
        Step::Folder { path, mode } => make_folder(&stage.join(path), *mode),
        Step::Link { path, target } => {
            let path = stage.join(path);
            symlink(target, &path).map_err(failed("make the link", &path))
        }
        Step::File { path, content } => {
            let path = stage.join(path);
            fs::write(&path, content).map_err(failed("write", &path))
        }
        Step::Copy { .. } => Ok(()), // the host has no such file
        Step::MountPoint { path, like } => {
            make_mount_point(&stage.join(ROOTFS), path, stage.join(like).is_dir())
        }
        Step::Bind { path, .. } => sources.iter().try_for_each(|source| attach(source, &stage.join(path))),
        Step::Entries { path, .. } => sources.iter().try_for_each(|entry| {
            let name = entry.path().file_name().unwrap_or_default();
            attach(entry, &stage.join(path).join(name))
        }),
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed("make", path))?;
    // The umask does not count here.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("make", path))
}

/// Makes an empty folder or file, unless the image has one there. Links of the image lead where they
/// would inside the sandbox: followed from here, they could lead to the host.
pub(super) fn make_mount_point(rootfs: &Path, inside: &Path, is_dir: bool) -> Result<()> {
    let missing = |why: pathrs::error::Error| {
        let what = "make the place for a mount (it must exist in the image, or be below /workspace)";
        failed(what, inside)(io::Error::other(why.to_string()))
    };
    let root = pathrs::Root::open(rootfs).map_err(missing)?;
    if root.resolve(inside).is_ok() {
        return Ok(());
    }
    let (folders, files) = (fs::Permissions::from_mode(0o755), fs::Permissions::from_mode(0o644));
    if is_dir {
        return root.mkdir_all(inside, &folders).map(drop).map_err(missing);
    }
    let parent = inside.parent().unwrap_or(inside);
    root.mkdir_all(parent, &folders).map_err(missing)?;
    let flags = pathrs::flags::OpenFlags::O_WRONLY | pathrs::flags::OpenFlags::O_EXCL;
    root.create_file(inside, flags, &files).map(drop).map_err(missing)
}

fn attach(source: &Source, target: &Path) -> Result<()> {
    let (path, mount, is_dir) = match source {
        Source::Mount { path, mount, is_dir } => (path, mount, *is_dir),
        Source::Link { target: says, .. } => {
            return symlink(says, target).map_err(failed("make the link", target));
        }
    };
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
    }
    if is_dir {
        make_folder(target, 0o755)?;
    } else {
        fs::write(target, "").map_err(failed("make", target))?;
    }
    move_mount(mount, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| failed("mount", path)(error.into()))
}
