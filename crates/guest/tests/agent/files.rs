//! File operations, those that fail included.

use std::fs::{
    OpenOptions, Permissions, create_dir, hard_link, metadata, read, read_dir, set_permissions, write,
};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use agentkernel_protocol::{
    Exited, FileError, FileInfo, FileKind, FileRequest, Stage, Start, Status, Stream, ToHost, UserIds,
    read_records,
};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::geteuid;
use tempfile::{TempDir, tempdir};

use crate::client::{Guest, until};
use crate::request::file;

pub fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    path.as_ref().as_os_str().as_bytes().to_vec()
}

pub fn folder() -> TempDir {
    tempdir().expect("a folder")
}

/// What a request that must succeed writes to stdout.
pub fn done(guest: &mut Guest, request: FileRequest, stdin: &[u8]) -> Vec<u8> {
    let outcome = guest.run_with(file(request), stdin).expect("a worker always starts");
    assert_eq!((outcome.status(), outcome.stderr.len()), (Status::Code(0), 0), "{:?}", outcome.text());
    outcome.stdout
}

/// Why a request that must fail did so.
pub fn failure(guest: &mut Guest, request: FileRequest, stdin: &[u8]) -> FileError {
    let outcome = guest.run_with(file(request), stdin).expect("a worker always starts");
    assert_eq!(outcome.status(), Status::Code(1));
    let mut errors = read_records(&outcome.stderr).expect("records");
    assert_eq!(errors.len(), 1);
    errors.remove(0)
}

pub fn error(errno: i32, message: impl Into<String>) -> FileError {
    FileError { errno, message: message.into() }
}

pub fn infos(output: &[u8]) -> Vec<FileInfo> {
    read_records(output).expect("records")
}

fn names_in(folder: &Path) -> Vec<Vec<u8>> {
    let names = read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.map(OsStringExt::into_vec).collect()
}

fn whole(path: impl AsRef<Path>) -> FileRequest {
    FileRequest::Read { path: bytes(path), offset: 0, length: None }
}

#[test]
fn files_are_read_whole_and_in_part() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = folder.path().join("a file");
    write(&path, &content).expect("a file");
    assert!(done(&mut guest, whole(&path), b"") == content);
    for (offset, length, expected) in [
        (0, Some(5), &content[..5]),
        (11_999_990, None, &content[11_999_990..]),
        (11_999_990, Some(5), &content[11_999_990..11_999_995]),
        (5, Some(0), &[][..]),
        (12_000_000, None, &[]),
        (99_000_000, Some(1), &[]),
    ] {
        let request = FileRequest::Read { path: bytes(&path), offset, length };
        assert!(done(&mut guest, request, b"") == expected, "{offset} {length:?}");
    }
    let link = folder.path().join("link");
    symlink(&path, &link).expect("a link");
    assert!(done(&mut guest, whole(link), b"") == content, "a link is followed");
    assert!(done(&mut guest, whole("/proc/version"), b"").starts_with(b"Linux"), "its size is said to be 0");
}

#[test]
fn only_regular_files_are_read() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let (pipe, socket, link) =
        (folder.path().join("pipe"), folder.path().join("socket"), folder.path().join("link"));
    mkfifoat(CWD, &pipe, Mode::RWXU).expect("a pipe");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    symlink(&pipe, &link).expect("a link");
    for (path, errno, reason) in [
        (folder.path(), 21, "Is a directory"),
        (&pipe, 0, "it is a pipe, not a regular file"),
        (&link, 0, "it is a pipe, not a regular file"),
        (&socket, 0, "it is a socket, not a regular file"),
        (Path::new("/dev/zero"), 0, "it is a device, not a regular file"),
        (Path::new("/no/such"), 2, "No such file or directory"),
        (Path::new(""), 2, "No such file or directory"),
    ] {
        let expected = error(errno, format!("read: {}: {reason}", path.display()));
        assert_eq!(failure(&mut guest, whole(path), b""), expected);
    }
    let nul = FileRequest::Read { path: b"a\0b".to_vec(), offset: 0, length: None };
    assert!(failure(&mut guest, nul, b"").message.contains("NUL byte"));
}

#[test]
fn a_file_that_grows_is_read_to_the_length_it_had() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let path = folder.path().join("log");
    write(&path, vec![b'a'; 1_000_000]).expect("a file");
    let (channel, _) = guest.started(Start { output_window: 1, ..file(whole(&path)) });
    guest.await_text(channel, "a"); // it has been opened by now
    OpenOptions::new().append(true).open(&path).expect("the file").write_all(&[b'b'; 5000]).expect("more");
    guest.credit(channel, Stream::Stdout, 100_000_000);
    let mut rest = Vec::new();
    let status = loop {
        match guest.next_of(channel) {
            ToHost::Stdout(bytes) => rest.extend_from_slice(&bytes),
            ToHost::Exited(Exited { status, .. }) => break status,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!((rest.len(), status), (999_999, Status::Code(0)));
    assert!(rest.iter().all(|byte| *byte == b'a'));
}

#[test]
fn files_are_written_as_a_whole_with_their_mode() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let (path, other_name) = (folder.path().join("new \u{fc} file"), folder.path().join("other name"));
    for (mode, len) in [(0o640, 3_000_000), (0o777, 5), (0o4755, 0), (0o400, 1)] {
        let content = vec![7; len];
        done(&mut guest, FileRequest::Write { path: bytes(&path), mode }, &content);
        assert!(read(&path).expect("the file") == content);
        assert_eq!(metadata(&path).expect("the file").mode() & 0o7777, mode);
    }
    hard_link(&path, &other_name).expect("another name");
    done(&mut guest, FileRequest::Write { path: bytes(&path), mode: 0o600 }, b"new");
    assert_eq!(read(&other_name).expect("the old file"), [7], "who has the old file keeps it as it was");
    assert_eq!(names_in(folder.path()).len(), 2, "no temporary file is left");
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let (mut guest, folder) = (Guest::ready(), folder());
    create_dir(folder.path().join("folder")).expect("a folder");
    let at = |path: &str| FileRequest::Write { path: bytes(folder.path().join(path)), mode: 0o600 };
    let content = vec![0; 2_000_000];
    let refused = failure(&mut guest, at("none/file"), &content);
    let path = folder.path().join("none/file");
    assert_eq!(refused, error(2, format!("write: {}: No such file or directory", path.display())));
    assert_eq!(failure(&mut guest, at("folder"), &content).errno, 21, "a folder is not replaced");
    assert_eq!(failure(&mut guest, at("x".repeat(300).as_str()), &content).errno, 36);
    let nowhere = FileRequest::Write { path: b"/".to_vec(), mode: 0o600 };
    assert_eq!(failure(&mut guest, nowhere, b""), error(0, "write: /: the path names no file"));
    assert_eq!(names_in(folder.path()), [b"folder".to_vec()]);
}

#[test]
fn a_worker_that_waits_for_ever_is_killed_in_time() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let request = FileRequest::Write { path: bytes(folder.path().join("file")), mode: 0o600 };
    let (channel, _) = guest.started(Start { timeout_ms: Some(200), ..file(request) });
    assert!(guest.exited(channel).timed_out);
    assert!(!folder.path().join("file").exists(), "half a file is none");
}

#[test]
fn facts_of_files_are_exact() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let (path, link) = (folder.path().join("file"), folder.path().join("link"));
    write(&path, b"12345").expect("a file");
    set_permissions(&path, Permissions::from_mode(0o4711)).expect("its mode");
    symlink("file", &link).expect("a link");
    let mut stat = |path: &Path, follow| {
        let output = done(&mut guest, FileRequest::Stat { path: bytes(path), follow }, b"");
        infos(&output).remove(0)
    };
    let real = metadata(&path).expect("the file");
    let expected = FileInfo {
        name: b"file".to_vec(),
        kind: FileKind::File,
        size: 5,
        mode: 0o4711,
        uid: real.uid(),
        gid: real.gid(),
        modified_ns: real.mtime() * 1_000_000_000 + real.mtime_nsec(),
        target: None,
    };
    assert_eq!(stat(&path, false), expected);
    assert_eq!(stat(&link, true), FileInfo { name: b"link".to_vec(), ..expected });
    let found = stat(&link, false);
    assert_eq!((found.kind, found.target), (FileKind::Symlink, Some(b"file".to_vec())));
    assert_eq!(stat(Path::new("/"), true).kind, FileKind::Dir);
    assert_eq!(stat(Path::new("/dev/null"), true).kind, FileKind::Other);
    let missing = FileRequest::Stat { path: b"/no/such".to_vec(), follow: true };
    assert_eq!(failure(&mut guest, missing, b""), error(2, "stat: /no/such: No such file or directory"));
}

#[test]
fn a_worker_has_the_rights_of_the_user_it_was_asked_to_be() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let path = folder.path().join("secret");
    write(&path, b"secret").expect("a file");
    set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
    let user = Some(UserIds { uid: 65533, gid: 65533 });
    let asked = Start { user, ..file(whole(&path)) };
    if geteuid().is_root() {
        let outcome = guest.run(asked);
        let errors: Vec<FileError> = read_records(&outcome.stderr).expect("records");
        assert_eq!((outcome.stdout.len(), errors[0].errno), (0, 13));
    } else {
        assert_eq!(guest.refused(asked).stage, Stage::User);
    }
}

#[test]
fn a_worker_can_be_stopped_and_delays_nobody() {
    let (mut guest, folder) = (Guest::ready(), folder());
    let request = FileRequest::Write { path: bytes(folder.path().join("never")), mode: 0o600 };
    let (channel, pid) = guest.started(file(request));
    done(&mut guest, whole("/etc/passwd"), b"");
    // Only root may look: a worker is as private as the agent.
    if geteuid().is_root() {
        until("it holds its streams and its file alone", || {
            let mut numbers = names_in(Path::new(&format!("/proc/{pid}/fd")));
            numbers.sort();
            numbers.len() <= 5 && numbers[..3] == [b"0", b"1", b"2"]
        });
    }
    guest.signal(channel, 9, false);
    assert_eq!(guest.exited(channel).status, Status::Signal(9));
    // Where files can be without a name, not even a killed worker leaves anything.
    let unnamed = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(folder.path());
    let left = names_in(folder.path());
    assert!(left.is_empty() || (unnamed.is_err() && left[0].starts_with(b".agentkernel-")), "{left:?}");
}
