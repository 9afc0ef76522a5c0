//! The root that is nobody's choice: small programs of the host that do their work in one process, and what they need.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use agentkernel_hyperlight::wire::Trouble;

use super::closure::needs_of;
use super::{Archive, place_of, trouble};

/// Programs that are taken, where the host has them: most of coreutils, and the like.
const PROGRAMS: &[&str] = &[
    "awk",
    "b2sum",
    "base32",
    "base64",
    "basename",
    "cat",
    "chmod",
    "cksum",
    "comm",
    "cp",
    "cut",
    "date",
    "dd",
    "diff",
    "dirname",
    "du",
    "echo",
    "env",
    "expand",
    "expr",
    "factor",
    "false",
    "find",
    "fmt",
    "fold",
    "grep",
    "gzip",
    "head",
    "id",
    "join",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mktemp",
    "mv",
    "nl",
    "numfmt",
    "od",
    "paste",
    "pr",
    "printenv",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "sum",
    "tac",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "uname",
    "unexpand",
    "uniq",
    "unlink",
    "wc",
    "whoami",
    "xargs",
    "yes",
];

const PROGRAM_FOLDERS: &[&str] = &["/usr/bin", "/bin"];

/// Where loaders look by themselves, on Debian, Fedora and Alpine.
const LIBRARY_FOLDERS: &[&str] =
    &["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib", "/lib"];

/// Names in the root folder that lead into `/usr`.
const MERGED: &[&str] = &["bin", "lib", "lib64", "sbin"];

/// Adds them.
pub fn add(files: &mut Archive) -> Result<(), Trouble> {
    for name in MERGED {
        let link = files.link(Path::new(name), &Path::new("usr").join(name));
        link.map_err(|why| trouble(*name, &why))?;
    }
    let mut there = BTreeSet::new();
    let mut wanted: Vec<PathBuf> = PROGRAMS.iter().filter_map(|name| find(name, PROGRAM_FOLDERS)).collect();
    while let Some(path) = wanted.pop() {
        if !there.insert(place_of(&path)) {
            continue;
        }
        let told = |why: std::io::Error| trouble(path.display().to_string(), &why);
        let content = fs::read(&path).map_err(told)?;
        files.charge(content.len() as u64)?;
        files.file(&place_of(&path), 0o755, &content).map_err(told)?;
        let needs = needs_of(&content);
        wanted.extend(needs.loader.map(PathBuf::from).filter(|loader| loader.is_absolute()));
        wanted.extend(needs.libraries.iter().filter_map(|name| find(name, LIBRARY_FOLDERS)));
    }
    Ok(())
}

/// The first of these folders' files of this name.
fn find(name: &str, folders: &[&str]) -> Option<PathBuf> {
    let candidates = folders.iter().map(|folder| Path::new(folder).join(name));
    candidates.filter(|_| !name.contains('/')).find(|path| path.is_file())
}
