//! What the file systems know: cgroups, mounts, files and sockets.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Found, Marks};

/// How deep cgroups and folders are searched.
const DEPTH_MAX: usize = 24;

/// Folders in which anybody may leave something: their entries are searched by name.
const SHARED_FOLDERS: &[&str] = &["/dev/shm", "/run", "/tmp", "/var/tmp"];

/// Cgroups whose path below the mount mentions a word, under every hierarchy that is mounted.
pub fn cgroups(marks: &Marks) -> Found {
    let mut found = Found::new();
    for mount in mount_lines().iter().filter(|mount| mount.fs_type.starts_with("cgroup")) {
        let root = Path::new(&mount.target);
        walk(root, DEPTH_MAX, &mut |path, is_folder| {
            let below = path.strip_prefix(root).unwrap_or(path);
            if is_folder && marks.mention(below.as_os_str().as_bytes()) {
                insert_path(&mut found, path);
            }
        });
    }
    found
}

/// Mounts in this process's namespace that mention a word: by place, root or source.
pub fn mounts(marks: &Marks) -> Found {
    let lines = mount_lines().into_iter().map(|mount| mount.line);
    lines.filter(|line| marks.mention(line.as_bytes())).map(|line| (line.clone(), line)).collect()
}

/// Files in the marked folders, and entries of the shared folders that mention a word.
pub fn files(marks: &Marks) -> Found {
    let mut found = Found::new();
    let mut keep = |path: &Path| {
        if !(marks.allowed)(path) {
            insert_path(&mut found, path);
        }
    };
    for folder in &marks.folders {
        walk(folder, DEPTH_MAX, &mut |path, _| keep(path));
    }
    for folder in SHARED_FOLDERS {
        walk(Path::new(folder), 0, &mut |path, _| {
            if path.file_name().is_some_and(|name| marks.mention(name.as_bytes())) {
                keep(path);
            }
        });
    }
    found
}

/// Unix sockets whose path or abstract name mentions a word.
pub fn sockets(marks: &Marks) -> Found {
    let text = fs::read("/proc/net/unix").unwrap_or_default();
    let lines = String::from_utf8_lossy(&text).into_owned();
    let ours = lines.lines().filter(|line| marks.mention(line.as_bytes()));
    ours.map(|line| (inode_and_path(line), line.to_owned())).collect()
}

/// A line without its counters, which change while the socket stays the same.
fn inode_and_path(line: &str) -> String {
    line.split_ascii_whitespace().skip(6).collect::<Vec<_>>().join(" ")
}

struct MountLine {
    line: String,
    target: String,
    fs_type: String,
}

fn mount_lines() -> Vec<MountLine> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(mount_line).collect()
}

fn mount_line(line: &str) -> Option<MountLine> {
    let (mount, source) = line.split_once(" - ")?;
    let target = mount.split(' ').nth(4)?.replace("\\040", " ");
    Some(MountLine { line: line.to_owned(), target, fs_type: source.split(' ').next()?.to_owned() })
}

fn insert_path(found: &mut Found, path: &Path) {
    let path = path.display().to_string();
    found.insert(path.clone(), path);
}

/// Visits everything below `folder`, links not followed, and tells of each whether it is a folder.
fn walk(folder: &Path, depth: usize, visit: &mut dyn FnMut(&Path, bool)) {
    // A folder may vanish while it is looked at: that is what the counter hopes for.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&path, is_folder);
        if is_folder && depth > 0 {
            walk(&path, depth - 1, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_spaces_and_optional_fields() {
        let line = r"36 35 98:0 /mnt1 /mnt\040two rw,noatime shared:1 master:2 - cgroup2 none rw";
        let mount = mount_line(line).unwrap();
        assert_eq!((mount.target.as_str(), mount.fs_type.as_str()), ("/mnt two", "cgroup2"));
    }

    #[test]
    fn a_socket_stays_the_same_while_its_counters_change() {
        let line = |references: &str| {
            inode_and_path(&format!("0000: {references} 00000000 00010000 0001 01 4711 @agentkernel/a b"))
        };
        assert_eq!(line("00000002"), line("00000003"));
        assert_eq!(line("00000002"), "4711 @agentkernel/a b");
    }
}
