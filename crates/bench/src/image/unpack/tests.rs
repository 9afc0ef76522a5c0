//! Archives, honest and not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;

/// Kind, name, target, mode.
type Line<'a> = (EntryType, &'a str, &'a str, u32);

fn packed(lines: &[Line<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (kind, name, target, mode) in lines {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        // Written as they are: `set_path` refuses what an honest archive does not have.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_mode(*mode);
        let content: &[u8] = if *kind == EntryType::Regular { b"content" } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content).expect("packed");
    }
    archive.into_inner().expect("packed")
}

fn unpacked(bytes: &[u8]) -> (TempDir, PathBuf, io::Result<()>) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("root");
    fs::create_dir(&folder).expect("made");
    let done = unpack(bytes, &folder);
    (parent, folder, done)
}

#[test]
fn files_folders_and_links_are_kept_with_their_modes_and_devices_are_left_out() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let bytes = packed(&[
        (Directory, "./", "", 0o755),
        (Directory, "closed/", "", 0o500),
        (Regular, "closed/file", "", 0o640),
        (Regular, "bin/busybox", "", 0o4755),
        (Link, "bin/sh", "bin/busybox", 0o755),
        (Symlink, "etc/absolute", "/bin/busybox", 0o777),
        (Char, "dev/null", "", 0o666),
        (Block, "dev/sda", "", 0o660),
        (Fifo, "run/initctl", "", 0o600),
        (Regular, ".dockerenv", "", 0o755),
    ]);
    let (_parent, root, done) = unpacked(&bytes);
    done.expect("unpacked");
    let facts = |name: &str| fs::symlink_metadata(root.join(name)).expect(name);
    let mode = |name: &str| facts(name).permissions().mode() & 0o7777;
    assert_eq!((mode("closed"), mode("closed/file"), mode("bin/busybox")), (0o500, 0o640, 0o755));
    assert_eq!(facts("bin/sh").ino(), facts("bin/busybox").ino());
    assert_eq!(fs::read_link(root.join("etc/absolute")).expect("a link"), Path::new("/bin/busybox"));
    for name in ["dev/null", "dev/sda", "run/initctl", ".dockerenv"] {
        assert!(!root.join(name).exists(), "{name}");
    }
}

#[test]
fn nothing_is_written_outside() {
    use EntryType::{Link, Regular, Symlink};
    let outside = |name: &str| packed(&[(Regular, name, "", 0o644)]);
    let (parent, _, done) = unpacked(&outside("../escaped"));
    assert!(done.expect_err("refused").to_string().contains("'../escaped': it leaves the folder"));
    assert!(!parent.path().join("escaped").exists());

    let (parent, root, done) = unpacked(&outside("/absolute"));
    done.expect("below the folder, as every name is");
    assert!(root.join("absolute").exists());

    let by_link = packed(&[(Symlink, "out", "..", 0o777), (Regular, "out/escaped", "", 0o644)]);
    let (other, _, done) = unpacked(&by_link);
    assert!(done.is_err() && !other.path().join("escaped").exists());

    // A link to what is outside would be that very file.
    fs::write(parent.path().join("secret"), "x").expect("written");
    let hard = packed(&[(Link, "mine", "../secret", 0o644)]);
    assert!(unpack(&hard[..], &root).is_err() && !root.join("mine").exists());

    // A file takes the place of a link, and is not written to where that leads.
    let through = packed(&[(Symlink, "file", "../secret", 0o777), (Regular, "file", "", 0o644)]);
    unpack(&through[..], &root).expect("replaced");
    assert_eq!(fs::read_to_string(parent.path().join("secret")).expect("read"), "x");
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let bytes = packed(&[(EntryType::Regular, "one", "", 0o644), (EntryType::Regular, "two", "", 0o644)]);
    assert_eq!(bytes.len(), 3072);
    for length in [0, 100, 512, 515, 700, 1024, 1500, 2048, 2500] {
        let (_parent, _, done) = unpacked(&bytes[..length]);
        assert!(done.is_err(), "cut off at {length}");
    }
    let filled_up = [&bytes[..], &[0; 8192]].concat();
    let (_parent, _, done) = unpacked(&filled_up);
    done.expect("a last record that is filled up");
}

#[test]
fn what_is_no_archive_is_told_with_its_cause() {
    let (_parent, _, done) = unpacked(&[b'x'; 4096]);
    assert!(done.is_err());
}
