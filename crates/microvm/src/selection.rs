//! What goes into a root device: all of a folder, or of the host's `/usr` what programs need to run.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Block of ext4, bytes.
pub(crate) const BLOCK: u64 = 4096;

/// Folders of /usr that no program needs to run: what is read by people and by compilers, and other languages' words.
const LEFT_OUT: [&str; 18] = [
    "games",
    "include",
    "lib/debug",
    "lib/firmware",
    "lib/modules",
    "local/include",
    "local/man",
    "local/share/doc",
    "local/share/man",
    "local/src",
    "share/doc",
    "share/help",
    "share/icons",
    "share/info",
    "share/locale",
    "share/man",
    "share/sounds",
    "src",
];

/// Files that only compilers read.
const LEFT_OUT_KINDS: [&str; 3] = ["a", "la", "o"];

/// Folders whose folders are each a program's own, or a library's.
const OF_PROGRAMS: [&str; 7] =
    ["lib", "libexec", "local", "local/lib", "local/libexec", "local/share", "share"];

/// A program's own folder that is larger is left out: compilers, virtual machines of languages, kits of vendors. Bytes.
const PROGRAM_MAX: u64 = 100 << 20;

/// Folders that hold the libraries of all, however large they are: the distribution's name of the processor, and Python's.
fn is_of_all(name: &str) -> bool {
    name.ends_with("-linux-gnu") || name.starts_with("python3") || matches!(name, "bin" | "lib" | "sbin")
}

/// Files, folders and links, each with its facts, folders before what they hold.
#[derive(Debug)]
pub(crate) struct Selection {
    root: PathBuf,
    entries: Vec<(PathBuf, Metadata)>,
    is_whole: bool,
}

impl Selection {
    /// All that is in a folder.
    pub(crate) fn whole(root: &Path) -> io::Result<Self> {
        Self::whole_if_small(root, usize::MAX)
    }

    /// The same, unless that is more than so many entries, which is an error.
    pub(crate) fn whole_if_small(root: &Path, most: usize) -> io::Result<Self> {
        let mut entries = vec![(root.to_owned(), fs::metadata(root)?)];
        walk(root, &mut entries, None, most)?;
        Ok(Self { root: root.to_owned(), entries, is_whole: true })
    }

    /// Of a `/usr`, what programs need to run.
    pub(crate) fn of_programs(usr: &Path) -> io::Result<Self> {
        let mut entries = vec![(usr.to_owned(), fs::metadata(usr)?)];
        walk(usr, &mut entries, Some(usr), usize::MAX)?;
        Ok(Self { root: usr.to_owned(), entries, is_whole: false })
    }

    pub(crate) fn files(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|(_, facts)| weight(facts)).sum()
    }

    /// Adds each by its facts: reading every byte at each start would take longer than the start.
    pub(crate) fn digest(&self, digest: &mut Sha256) {
        for (path, facts) in &self.entries {
            digest.update(path.as_os_str().as_bytes());
            let numbers =
                [facts.ino(), facts.size(), facts.mode().into(), facts.uid().into(), facts.gid().into()];
            let times = [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()];
            digest.update([0]);
            numbers.iter().for_each(|number| digest.update(number.to_le_bytes()));
            times.iter().for_each(|time| digest.update(time.to_le_bytes()));
        }
    }

    /// A folder that holds them and nothing else: copies in `stage`, unless it is all that is in theirs.
    pub(crate) fn staged(&self, stage: &Path) -> io::Result<PathBuf> {
        if self.is_whole {
            return Ok(self.root.clone());
        }
        for (path, facts) in &self.entries {
            let to = stage.join(path.strip_prefix(&self.root).unwrap_or(path));
            if facts.is_dir() {
                fs::create_dir_all(&to)?;
            } else if facts.is_symlink() {
                symlink(fs::read_link(path)?, &to)?;
            } else {
                match fs::copy(path, &to) {
                    // It is not for whoever asks, and would not be inside.
                    Err(why) if why.kind() == io::ErrorKind::PermissionDenied => continue,
                    copied => drop(copied?),
                }
                // Without the bits that give another user's rights.
                fs::set_permissions(&to, Permissions::from_mode(facts.mode() & 0o777))?;
            }
        }
        Ok(stage.to_owned())
    }
}

fn weight(facts: &Metadata) -> u64 {
    if facts.is_dir() { BLOCK } else { facts.len().next_multiple_of(BLOCK) }
}

/// Whether a program may need this to run, as far as its place tells: below `usr`.
fn is_of_use(below: &Path, facts: &Metadata) -> bool {
    let is_kind = |kind: &str| below.extension().is_some_and(|of| of == kind);
    let is_for_compilers = facts.is_file() && LEFT_OUT_KINDS.into_iter().any(is_kind);
    !is_for_compilers && !LEFT_OUT.iter().any(|folder| below == Path::new(folder))
}

/// Whether this is a program's own folder, and too large.
fn is_too_large(below: &Path, bytes: u64) -> bool {
    let is_a_programs = OF_PROGRAMS.iter().any(|folder| below.parent() == Some(Path::new(folder)));
    let name = below.file_name().unwrap_or_default().to_string_lossy();
    bytes > PROGRAM_MAX && is_a_programs && !is_of_all(&name)
}

/// Lists what is below a folder, and weighs it; of a `/usr`, only what programs need, and what is for us to read.
/// Ends with an error where that is more than so many.
fn walk(
    folder: &Path,
    entries: &mut Vec<(PathBuf, Metadata)>,
    usr: Option<&Path>,
    most: usize,
) -> io::Result<u64> {
    let listed = match fs::read_dir(folder) {
        Err(why) if usr.is_some() && why.kind() == io::ErrorKind::PermissionDenied => return Ok(0),
        listed => listed?,
    };
    let mut listed: Vec<_> = listed.take(most.saturating_add(1)).collect::<io::Result<_>>()?;
    if listed.len() + entries.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // By their names alone: paths are compared part by part, and begin alike.
    listed.sort_by_cached_key(fs::DirEntry::file_name);
    let mut bytes = 0;
    for entry in listed {
        let (path, facts) = (entry.path(), entry.metadata()?);
        let below = usr.and_then(|usr| path.strip_prefix(usr).ok()).map(Path::to_owned);
        if below.as_deref().is_some_and(|below| !is_of_use(below, &facts)) {
            continue;
        }
        let (first, mut weight, is_folder) = (entries.len(), weight(&facts), facts.is_dir());
        entries.push((path.clone(), facts));
        if is_folder {
            weight += walk(&path, entries, usr, most)?;
        }
        if below.is_some_and(|below| is_too_large(&below, weight)) {
            entries.truncate(first);
        } else {
            bytes += weight;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_hosts_programs_what_they_need_to_run_is_taken() {
        let home = tempfile::tempdir().expect("a folder");
        let usr = home.path().join("usr");
        let file = |name: &str, bytes: u64| {
            let path = usr.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::File::create(path).expect("made").set_len(bytes).expect("sized");
        };
        for name in ["bin/sh", "lib/python3/a.py", "lib/x86_64-linux-gnu/libc.so.6", "share/zoneinfo/UTC"] {
            file(name, 10);
        }
        file("lib/x86_64-linux-gnu/libllvm.so", 200 << 20);
        for name in
            ["include/stdio.h", "share/doc/x/copyright", "lib/x86_64-linux-gnu/libc.a", "lib/gcc/crt1.o"]
        {
            file(name, 10);
        }
        file("lib/jvm/modules", 200 << 20);
        fs::set_permissions(usr.join("bin/sh"), Permissions::from_mode(0o4755)).expect("changed");
        symlink("sh", usr.join("bin/rbash")).expect("linked");
        let selection = Selection::of_programs(&usr).expect("selected");
        let stage = home.path().join("stage");
        selection.staged(&stage).expect("staged");
        let staged = Selection::whole(&stage).expect("listed");
        let names: Vec<_> = staged.entries.iter().filter(|(_, facts)| !facts.is_dir()).collect();
        let names: Vec<_> = names.iter().map(|(path, _)| path.strip_prefix(&stage).expect("below")).collect();
        let expected = [
            "bin/rbash",
            "bin/sh",
            "lib/python3/a.py",
            "lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libllvm.so",
            "share/zoneinfo/UTC",
        ];
        assert_eq!(names, expected.map(Path::new));
        assert_eq!(fs::metadata(stage.join("bin/sh")).expect("there").mode() & 0o7777, 0o755);
        assert_eq!(staged.staged(Path::new("/nowhere")).expect("as it is"), stage);
        let count = staged.entries.len();
        assert_eq!(Selection::whole_if_small(&stage, count).expect("small enough").entries.len(), count);
        let why = Selection::whole_if_small(&stage, count - 1).expect_err("more than that");
        assert_eq!(why.kind(), io::ErrorKind::FileTooLarge);
    }
}
