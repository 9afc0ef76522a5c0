use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::*;

/// Names in an archive, with the lengths of their contents: the newc form, read by its own description.
fn entries(root: &Root, memory_mib: usize) -> BTreeMap<String, usize> {
    let mut file = archive(root, memory_mib).expect("an archive");
    file.seek(SeekFrom::Start(0)).expect("rewound");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("read");
    let (mut at, mut entries) = (0, BTreeMap::new());
    let padded = |at: usize| at.next_multiple_of(4);
    loop {
        let number = |from: usize| {
            let digits = std::str::from_utf8(&bytes[at + from..at + from + 8]).expect("digits");
            usize::from_str_radix(digits, 16).expect("a number")
        };
        let (size, name_size) = (number(54), number(94));
        let name = String::from_utf8_lossy(&bytes[at + 110..at + 110 + name_size - 1]).into_owned();
        if name == "TRAILER!!!" {
            return entries;
        }
        entries.insert(name, size);
        at = padded(padded(at + 110 + name_size) + size);
    }
}

fn folder(path: &Path) -> Root {
    Root::Folder(path.as_os_str().as_bytes().to_vec())
}

#[test]
fn the_hosts_root_has_programs_with_their_loader_and_libraries_and_no_shell() {
    let entries = entries(&Root::Host, 256);
    let size = |path: &str| fs::metadata(path).map(|facts| facts.len()).ok();
    assert_eq!(entries.get("usr/bin/cat").map(|size| *size as u64), size("/usr/bin/cat"));
    assert!(
        entries.keys().any(|name| name.contains("/libc.so.") || name.contains("/ld-musl")),
        "{entries:?}"
    );
    assert!(!entries.keys().any(|name| name.ends_with("/sh") || name.ends_with("/bash")), "{entries:?}");
    assert!(entries[AGENT] > 100_000);
    assert!(!entries.keys().any(|name| name.starts_with("home") || name.starts_with("root")), "{entries:?}");
}

#[test]
fn a_folder_is_copied_without_what_is_no_file_and_without_shells_that_fork() {
    let top = tempfile::tempdir().expect("a folder");
    let bin = top.path().join("bin");
    fs::create_dir(&bin).expect("made");
    fs::write(bin.join("tool"), "#!/bin/tool").expect("written");
    fs::copy("/bin/sh", bin.join("sh")).expect("copied");
    fs::copy("/bin/sh", bin.join("runner")).expect("copied");
    fs::write(bin.join("dash"), "no program at all").expect("written");
    symlink("/etc/shadow", top.path().join("secret")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        top.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a pipe");
    let entries = entries(&folder(top.path()), 64);
    let named: Vec<_> = entries.keys().filter(|name| name.starts_with("bin/")).map(String::as_str).collect();
    assert_eq!(named, ["bin/dash", "bin/runner", "bin/tool"]);
    assert_eq!(entries["secret"], "/etc/shadow".len(), "a link is copied, and not what it leads to");
    assert!(!entries.contains_key("pipe"));
}

#[test]
fn what_fills_more_than_half_of_the_memory_is_refused() {
    let top = tempfile::tempdir().expect("a folder");
    let file = fs::File::create(top.path().join("large")).expect("made");
    file.set_len(33 << 20).expect("grown");
    let refused = archive(&folder(top.path()), 64).expect_err("refused");
    assert_eq!(refused, Trouble::TooLarge { root_mib: 34 });
    fs::write(top.path().join(AGENT), "mine").expect("written");
    file.set_len(0).expect("shrunk");
    assert!(matches!(archive(&folder(top.path()), 64), Err(Trouble::Root(name, _)) if name == AGENT));
    assert!(matches!(archive(&folder(Path::new("/nonexistent")), 64), Err(Trouble::Root(..))));
}

#[test]
fn a_garbled_program_needs_nothing() {
    let mut program = fs::read("/bin/sh").expect("a program");
    assert!(closure::needs_of(&program).forks);
    for cut in [0, 4, 64, 100, 1000, program.len() / 2] {
        drop(closure::needs_of(&program[..cut]));
    }
    for at in (0..program.len()).step_by(97) {
        program[at] ^= 0xff;
        drop(closure::needs_of(&program));
    }
}
