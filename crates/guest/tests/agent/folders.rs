//! Folders, and what is done to entries of them.

use std::ffi::OsStr;
use std::fs::{create_dir, metadata, read, symlink_metadata, write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use agentkernel_protocol::{FileKind, FileRequest};

use crate::client::Guest;
use crate::files::{bytes, done, error, failure, folder, infos};

#[test]
fn folders_are_listed_in_the_order_of_their_bytes() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let names: [&[u8]; 6] = [b"\x01", b".hidden", b"A b\n", b"a", b"\xc3\xa4", b"\xff\xfe"];
    for name in names {
        write(folder.path().join(OsStr::from_bytes(name)), name).expect("a file");
    }
    symlink("/nowhere", folder.path().join("z")).expect("a link");
    let list = |path: &Path| FileRequest::List { path: bytes(path) };
    let found = infos(&done(&mut guest, list(folder.path()), b""));
    let found: Vec<_> = found.iter().map(|info| (info.name.as_slice(), info.size, info.kind)).collect();
    let mut expected: Vec<_> = names.iter().map(|name| (*name, name.len() as u64, FileKind::File)).collect();
    expected.insert(4, (b"z", 8, FileKind::Symlink));
    assert_eq!(found, expected);
    let many = folder.path().join("a folder");
    create_dir(&many).expect("a folder");
    assert_eq!(infos(&done(&mut guest, list(&many), b"")), []);
    for number in 0..5000 {
        write(many.join(format!("{number:04}")), b"").expect("a file");
    }
    let found = infos(&done(&mut guest, list(&many), b""));
    assert_eq!((found.len(), found[4999].name.as_slice()), (5000, b"4999".as_slice()));
    assert_eq!(failure(&mut guest, list(&folder.path().join("a")), b"").errno, 20, "a file is no folder");
}

#[test]
fn folders_are_made() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let make = |path: &str, mode, parents| FileRequest::MakeDir {
        path: bytes(folder.path().join(path)),
        mode,
        parents,
    };
    let mode_of = |path: &str| metadata(folder.path().join(path)).expect("a folder").mode() & 0o7777;
    done(&mut guest, make("one", 0o1777, false), b"");
    done(&mut guest, make("two/three/four", 0o700, true), b"");
    assert_eq!((mode_of("one"), mode_of("two"), mode_of("two/three/four")), (0o1777, 0o755, 0o700));
    done(&mut guest, make("one", 0o700, true), b"");
    assert_eq!(mode_of("one"), 0o1777, "what is there stays as it is");
    write(folder.path().join("file"), b"").expect("a file");
    let mut errno = |path, parents| failure(&mut guest, make(path, 0o700, parents), b"").errno;
    assert_eq!((errno("one", false), errno("a/b", false)), (17, 2));
    assert_eq!((errno("file", true), errno("file/b", true)), (17, 17));
}

#[test]
fn things_are_removed_and_never_what_a_link_points_to() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let at = |path: &str| folder.path().join(path);
    let remove = |path: &str, recursive| FileRequest::Remove { path: bytes(at(path)), recursive };
    for path in ["kept", "full", "full/er", "empty"] {
        create_dir(at(path)).expect("a folder");
    }
    for path in ["kept/file", "full/er/file", "file"] {
        write(at(path), b"").expect("a file");
    }
    for path in ["full/er/link", "link"] {
        symlink(at("kept"), at(path)).expect("a link");
    }
    assert_eq!(failure(&mut guest, remove("full", false), b"").errno, 39);
    let missing = error(2, format!("remove: {}: No such file or directory", at("none").display()));
    assert_eq!(failure(&mut guest, remove("none", true), b""), missing);
    for (path, recursive) in [("file", false), ("empty", false), ("full", true), ("link", true)] {
        done(&mut guest, remove(path, recursive), b"");
        assert!(symlink_metadata(at(path)).is_err(), "{path}");
    }
    assert!(at("kept/file").exists());
}

#[test]
fn things_are_renamed() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let at = |path: &str| folder.path().join(path);
    let rename = |from: &str, to: &str| FileRequest::Rename { from: bytes(at(from)), to: bytes(at(to)) };
    write(at("a"), b"a").expect("a file");
    write(at("b"), b"b").expect("a file");
    done(&mut guest, rename("a", "b"), b"");
    assert_eq!((read(at("b")).expect("a file"), at("a").exists()), (b"a".to_vec(), false));
    let refused = failure(&mut guest, rename("none", "b"), b"");
    let (from, to) = (at("none"), at("b"));
    let message = format!("rename to {}: {}: No such file or directory", to.display(), from.display());
    assert_eq!(refused, error(2, message));
}
