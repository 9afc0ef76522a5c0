//! Space and names in a file system, and files that are a trap for whoever copies them out.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::{Ended, Exhaustion, Options, Progress};
use crate::attempt::errno_of;
use crate::sys::{self, Errno, call};

pub const ALL: &[Exhaustion] = &[
    Exhaustion { name: "tmpfs-fill", run: fill },
    Exhaustion { name: "inode-flood", run: inode_flood },
    Exhaustion { name: "sparse-1tb", run: sparse },
    Exhaustion { name: "copy-out-traps", run: copy_out_traps },
];

/// A directory of our own below the path, which is removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make(options: &Options) -> Result<Self, String> {
        let path = options.path()?.join(format!("attack-probe-{}", sys::own_pid()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Folder { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _leaves_no_trace = fs::remove_dir_all(&self.path);
    }
}

/// Writes until there is no space. A limit on one file's size only makes it begin the next one.
fn fill(options: &Options, progress: &Progress) -> Result<Ended, String> {
    sys::ignore_signal(libc::SIGXFSZ);
    let folder = Folder::make(options)?;
    let mut files = 0;
    let mut count = 0;
    let mut errno = 0;
    while errno == 0 && count < options.mib() {
        let before = count;
        let path = folder.path.join(files.to_string());
        errno = fill_file(&path, options.mib(), &mut count, progress);
        files += 1;
        // The limit on a file is no end, unless it is below one piece.
        if errno == libc::EFBIG && count > before {
            errno = 0;
        }
    }
    Ok(Ended { count, errno, detail: format!("MiB were written, in {files} files") })
}

fn fill_file(path: &Path, count_max: u64, count: &mut u64, progress: &Progress) -> Errno {
    let piece = vec![1; 1 << 20];
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return errno_of(&error),
    };
    while *count < count_max {
        if let Err(error) = file.write_all(&piece) {
            return errno_of(&error);
        }
        *count += 1;
        progress.tell(*count);
    }
    0
}

/// Makes empty files until there may be no more.
fn inode_flood(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let folder = Folder::make(options)?;
    let ended = |count, errno| Ended { count, errno, detail: "files were made".into() };
    for count in 0..options.count() {
        let path = folder.path.join(count.to_string());
        if let Err(error) = OpenOptions::new().write(true).create_new(true).open(path) {
            return Ok(ended(count, errno_of(&error)));
        }
        progress.tell(count + 1);
    }
    Ok(ended(options.count(), 0))
}

/// Says to be 1 TB and is nothing. The file stays, for whoever copies it out.
fn sparse(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    sys::ignore_signal(libc::SIGXFSZ);
    let path = options.path()?;
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let errno = file.set_len(1 << 40).err().map_or(0, |error| errno_of(&error));
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let detail = format!("bytes long, in {} blocks of 512", metadata.blocks());
    Ok(Ended { count: metadata.len(), errno, detail })
}

/// Fills a new directory with what must not be followed, opened or believed. It stays.
fn copy_out_traps(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    // A limit on the size of files refuses one of the traps; the signal would take the others, too.
    sys::ignore_signal(libc::SIGXFSZ);
    let folder = options.path()?;
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir(folder).map_err(failed)?;
    let mut refused = Vec::new();
    for (name, make) in TRAPS {
        if let Err(error) = make(&folder.join(name)) {
            refused.push(format!("{name}: {error}"));
        }
    }
    let count = (TRAPS.len() - refused.len()) as u64;
    Ok(Ended { count, errno: 0, detail: format!("traps were set; not: {}", refused.join(", ")) })
}

type Make = fn(&Path) -> std::io::Result<()>;

const TRAPS: &[(&str, Make)] = &[
    ("fifo-that-blocks", fifo),
    ("endless-link", |path| symlink("/dev/zero", path)),
    ("shadow-link", |path| symlink("/etc/shadow", path)),
    ("climbing-link", |path| symlink("../../../../../../../../etc/passwd", path)),
    ("link-to-itself", |path| symlink("link-to-itself", path)),
    ("link-to-parent", |path| symlink("..", path)),
    ("socket", |path| UnixListener::bind(path).map(drop)),
    ("sparse-1tb", |path| File::create(path)?.set_len(1 << 40)),
    ("name-with-\n-newline", |path| File::create(path).map(drop)),
    ("name-with-\u{1b}[31m-escape", |path| File::create(path).map(drop)),
    ("-rf", |path| File::create(path).map(drop)),
    ("setuid", setuid),
    ("unreadable", |path| File::create(path)?.set_permissions(mode(0))),
    ("deep", deep),
    ("not-utf8", |path| {
        File::create(path.with_file_name(std::ffi::OsStr::from_bytes(b"\xff\xfe"))).map(drop)
    }),
];

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

fn fifo(path: &Path) -> std::io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let reply = call!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_c_str(), libc::S_IFIFO | 0o600, 0);
    reply.map(|_| ()).map_err(std::io::Error::from_raw_os_error)
}

fn setuid(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"#!/bin/sh\n")?;
    file.set_permissions(mode(0o6755))
}

fn deep(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all((0..200).fold(path.to_owned(), |path, _| path.join("d")))
}
