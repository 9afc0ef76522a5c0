//! Folders in and out as tar streams, hostile ones included.

use std::collections::BTreeMap;
use std::fs::{Permissions, create_dir_all, read, read_link, set_permissions, symlink_metadata, write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use agentkernel_protocol::{FileError, FileRequest};
use rustix::fs::{CWD, Mode, mkfifoat};
use tar::{Archive, Builder, EntryType, Header};

use crate::client::Guest;
use crate::files::{bytes, done, failure, folder};

/// What is at a path: its mode, and its content or target.
type Facts = BTreeMap<PathBuf, (u32, Vec<u8>)>;

fn facts(root: &Path) -> Facts {
    let mut facts = Facts::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let real = root.join(&path);
        let metadata = symlink_metadata(&real).expect("an entry");
        let content = if metadata.is_dir() {
            let entries = std::fs::read_dir(&real).expect("a folder");
            open.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
            b"folder".to_vec()
        } else if metadata.is_symlink() {
            bytes(read_link(&real).expect("a link"))
        } else if metadata.is_file() {
            read(&real).expect("a file")
        } else {
            b"other".to_vec()
        };
        facts.insert(path, (metadata.mode() & 0o7777, content));
    }
    facts
}

fn pack(guest: &mut Guest, path: impl AsRef<Path>) -> Vec<u8> {
    done(guest, FileRequest::TarOut { path: bytes(path) }, b"")
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(archive);
    let entries = archive.entries().expect("an archive").map(|entry| entry.expect("an entry"));
    entries.map(|entry| entry.path().expect("a path").to_string_lossy().into_owned()).collect()
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let (mut guest, from, to) = (Guest::ready(), folder(), folder());
    let root = from.path().join("root");
    let long = "long".repeat(30);
    create_dir_all(root.join("closed/inner")).expect("folders");
    create_dir_all(root.join(format!("{long}/{long}"))).expect("folders");
    write(root.join(format!("{long}/{long}/{long}")), b"deep").expect("a file");
    write(root.join("closed/inner/file"), vec![3; 1_000_001]).expect("a file");
    write(root.join("run"), b"#!/bin/sh\n").expect("a file");
    write(root.join("empty"), b"").expect("a file");
    symlink("/etc/passwd", root.join("outside")).expect("a link");
    symlink(format!("{long}/{long}/{long}"), root.join("far")).expect("a link");
    symlink("inner", root.join("closed/link")).expect("a link");
    for (path, mode) in [("run", 0o755), ("empty", 0o4600), ("closed/inner", 0o500), ("closed", 0o555)] {
        set_permissions(root.join(path), Permissions::from_mode(mode)).expect("its mode");
    }
    let archive = pack(&mut guest, &root);
    done(&mut guest, FileRequest::TarIn { path: bytes(to.path().join("made/here")) }, &archive);
    assert_eq!(facts(&to.path().join("made/here/root")), facts(&root));
    let again = pack(&mut guest, to.path().join("made/here/root"));
    assert_eq!(names(&archive), names(&again));
    for root in [root, to.path().join("made/here/root")] {
        for path in ["closed", "closed/inner"] {
            set_permissions(root.join(path), Permissions::from_mode(0o700)).expect("to be removed");
        }
    }
}

#[test]
fn one_file_is_an_archive_too() {
    let (mut guest, from, to) = (Guest::ready(), folder(), folder());
    write(from.path().join("file"), b"content").expect("a file");
    symlink("file", from.path().join("link")).expect("a link");
    let archive = pack(&mut guest, from.path().join("file"));
    assert_eq!(names(&archive), ["file"]);
    assert_eq!(names(&pack(&mut guest, from.path().join("link"))), ["link"]);
    write(to.path().join("file"), b"what was there before, and longer").expect("a file");
    done(&mut guest, FileRequest::TarIn { path: bytes(to.path()) }, &archive);
    assert_eq!(read(to.path().join("file")).expect("a file"), b"content");
}

#[test]
fn pipes_and_sockets_are_left_out() {
    let (mut guest, from) = (Guest::ready(), folder());
    let root = from.path().join("root");
    create_dir_all(&root).expect("a folder");
    mkfifoat(CWD, root.join("pipe"), Mode::RWXU).expect("a pipe");
    let _listener = UnixListener::bind(root.join("socket")).expect("a socket");
    write(root.join("file"), b"").expect("a file");
    assert_eq!(names(&pack(&mut guest, &root)), ["root", "root/file"]);
    let missing = failure(&mut guest, FileRequest::TarOut { path: bytes(from.path().join("none")) }, b"");
    let message = format!("pack: {}: No such file or directory", from.path().join("none").display());
    assert_eq!(missing, FileError { errno: 2, message });
}

/// Kind and name of an entry, and its content or target.
type Attack<'a> = (EntryType, &'a str, &'a str);

/// An archive of entries whose names are taken as they are.
fn archive(entries: &[Attack<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        let content = match kind {
            EntryType::Regular => content.as_bytes(),
            _ => {
                header.set_link_name_literal(content).expect("a short target");
                b""
            }
        };
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append(&header, content).expect("into memory");
    }
    builder.into_inner().expect("into memory")
}

#[test]
fn hostile_entries_are_refused_by_name_and_leave_nothing_outside() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let outside = folder();
    let canary = outside.path().join("canary");
    write(&canary, b"alive").expect("a file");
    let (out, file) = (outside.path().to_str().expect("text"), canary.to_str().expect("text"));
    let mut guest = Guest::ready();
    let attacks: [(&[Attack<'_>], &str); 12] = [
        (&[(Regular, "../evil", "x")], "../evil: the entry leaves"),
        (&[(Regular, "a/../../evil", "x")], "a/../../evil: the entry leaves"),
        (&[(Regular, file, "x")], "canary: the entry leaves"),
        (&[(Directory, "..", "")], "..: the entry leaves"),
        (&[(Symlink, "link", out), (Regular, "link/evil", "x")], "link/evil: "),
        (&[(Symlink, "link", out), (Directory, "link/evil", "")], "link/evil: "),
        (&[(Symlink, "link", ".."), (Symlink, "link/evil", "x")], "link/evil: "),
        (&[(Symlink, "link", out), (Directory, "link", "")], "link: "),
        (&[(Link, "hard", file), (Regular, "hard", "x")], "hard: "),
        (&[(Link, "hard", "../canary")], "hard: "),
        (&[(Char, "device", "")], "device: neither"),
        (&[(Block, "a", ""), (Fifo, "b", "")], "a: neither"),
    ];
    for (entries, reason) in attacks {
        let to = tempfile::tempdir_in(outside.path()).expect("a folder");
        let refused = failure(&mut guest, FileRequest::TarIn { path: bytes(to.path()) }, &archive(entries));
        assert!(refused.message.starts_with("unpack: ") && refused.message.contains(reason), "{refused:?}");
        drop(to);
        assert_eq!(facts(outside.path()).len(), 2, "nothing but the canary: {refused:?}");
        assert_eq!(read(&canary).expect("the canary"), b"alive");
    }
    // A link that stands where a file shall be is replaced, not written through.
    let to = folder();
    let through = archive(&[(Symlink, "link", file), (Regular, "link", "x")]);
    done(&mut guest, FileRequest::TarIn { path: bytes(to.path()) }, &through);
    assert_eq!(read(&canary).expect("the canary"), b"alive");
}

#[test]
fn broken_archives_are_told() {
    let (mut guest, to) = (Guest::ready(), folder());
    let good = archive(&[(EntryType::Regular, "file", &"x".repeat(3000))]);
    for len in [1, 511, 512, 513, 2000, 3500] {
        let refused = failure(&mut guest, FileRequest::TarIn { path: bytes(to.path()) }, &good[..len]);
        assert!(refused.message.starts_with("unpack: "), "{len}: {refused:?}");
    }
    let refused = failure(&mut guest, FileRequest::TarIn { path: bytes(to.path()) }, &[b'x'; 4096]);
    assert!(refused.message.starts_with("unpack: "), "{refused:?}");
    done(&mut guest, FileRequest::TarIn { path: bytes(to.path()) }, b"");
    let refused = failure(&mut guest, FileRequest::TarIn { path: b"/dev/null/x".to_vec() }, &good);
    assert_eq!((refused.errno, refused.message.as_str()), (20, "make folder: /dev/null/x: Not a directory"));
}
