//! The root device: an ext4 file system made of a folder, without privileges, and kept by what it was made of.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::Program;
use sha2::{Digest as _, Sha256};

use crate::folder::make_private;
use crate::kernel::hex;

/// Block and inode of ext4, bytes.
const BLOCK: u64 = 4096;
const INODE: u64 = 256;

/// What ext4 needs beside files, bytes: its own tables, and the folder `lost+found`.
const OVERHEAD: u64 = 16 << 20;

/// How long a file system of some gigabytes may take to be made.
const DEADLINE: Duration = Duration::from_secs(1800);

/// Changes with the way in which images are made.
const RECIPE: &[u8] = b"ext4 1";

const WHAT: &str = "make the root device";

/// Where images are kept.
#[derive(Debug, Clone)]
pub(crate) struct ImageStore(PathBuf);

/// What a folder holds.
struct Content {
    digest: Sha256,
    files: u64,
    bytes: u64,
}

impl ImageStore {
    pub(crate) fn below(home: &Path) -> Self {
        Self(home.join("images"))
    }

    /// The image of a folder, made unless there is one: `maker` is `mke2fs`. Blocks.
    pub(crate) fn of_folder(&self, folder: &Path, maker: &Path) -> Result<PathBuf> {
        let failed = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(folder.display());
        let content = Content::of(folder).map_err(failed)?;
        let (size, files) = (content.size(), content.files);
        let name = hex(&content.digest.finalize());
        let path = self.0.join(format!("{name}.ext4"));
        if path.exists() {
            return Ok(path);
        }
        make_private(&self.0).map_err(failed)?;
        let new = self.0.join(format!("{name}.new-{}-{:?}", std::process::id(), std::thread::current().id()));
        let made = make(folder, maker, &new, size, files).and_then(|()| publish(&new, &path));
        if made.is_err() {
            // The error is what counts.
            fs::remove_file(&new).ok();
        }
        made.map(|()| path).map_err(failed)
    }
}

/// It is there as a whole, and the VMM, which is another user where we are root, may read it: by a descriptor, for the
/// folder is closed to it.
fn publish(new: &Path, path: &Path) -> io::Result<()> {
    fs::set_permissions(new, Permissions::from_mode(0o444))?;
    fs::rename(new, path)
}

fn make(folder: &Path, maker: &Path, image: &Path, size: u64, files: u64) -> io::Result<()> {
    let words = [
        "-q".to_owned(),
        "-F".into(),
        "-t".into(),
        "ext4".into(),
        // It is never written to: no journal, and nothing kept back for root.
        "-O".into(),
        "^has_journal".into(),
        "-m".into(),
        "0".into(),
        "-b".into(),
        BLOCK.to_string(),
        "-I".into(),
        INODE.to_string(),
        "-N".into(),
        (files + 64).to_string(),
        "-E".into(),
        "root_owner=0:0".into(),
        "-d".into(),
        folder.display().to_string(),
        image.display().to_string(),
        format!("{}k", size.div_ceil(1024)),
    ];
    let program = words.iter().fold(Program::new(maker)?, |program, word| program.argument(word));
    program.output(DEADLINE).map(drop)
}

impl Content {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut content = Self { digest: Sha256::new_with_prefix(RECIPE), files: 0, bytes: 0 };
        content.add(folder, &fs::metadata(folder)?)?;
        Ok(content)
    }

    /// A file by its facts: reading every byte at each start would take longer than the start.
    fn add(&mut self, path: &Path, facts: &Metadata) -> io::Result<()> {
        self.files += 1;
        self.bytes += if facts.is_dir() { BLOCK } else { facts.len().next_multiple_of(BLOCK) };
        self.digest.update(path.as_os_str().as_bytes());
        let numbers =
            [facts.ino(), facts.size(), facts.mode().into(), facts.uid().into(), facts.gid().into()];
        let times = [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()];
        self.digest.update([0]);
        numbers.iter().for_each(|number| self.digest.update(number.to_le_bytes()));
        times.iter().for_each(|time| self.digest.update(time.to_le_bytes()));
        if !facts.is_dir() {
            return Ok(());
        }
        let mut paths: Vec<PathBuf> =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            self.add(&path, &fs::symlink_metadata(&path)?)?;
        }
        Ok(())
    }

    /// Bytes that surely hold it.
    fn size(&self) -> u64 {
        self.bytes + self.bytes / 16 + (self.files + 64) * INODE + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use agentkernel_testkit::tool_or_skip;

    use super::*;

    #[test]
    fn an_image_is_made_once_and_anew_when_its_folder_has_changed() {
        let Some(maker) = tool_or_skip("mke2fs") else { return };
        let home = tempfile::tempdir().expect("a folder");
        let root = home.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("made");
        fs::write(root.join("bin/program"), vec![7; 100_000]).expect("written");
        let store = ImageStore::below(home.path());
        let image = store.of_folder(&root, &maker).expect("made");
        let magic = fs::read(&image).expect("read")[1024 + 56..1024 + 58].to_vec();
        assert_eq!(magic, [0x53, 0xef], "ext4 begins so");
        let made = fs::metadata(&image).expect("there").modified().expect("a time");
        assert_eq!(store.of_folder(&root, &maker).expect("found"), image);
        assert_eq!(fs::metadata(&image).expect("there").modified().expect("a time"), made);
        fs::write(root.join("bin/other"), "more").expect("written");
        assert_ne!(store.of_folder(&root, &maker).expect("made"), image);
        assert!(store.of_folder(Path::new("/nowhere"), &maker).is_err());
        assert!(store.of_folder(home.path(), Path::new("/bin/false")).is_err());
        assert_eq!(
            fs::read_dir(home.path().join("images")).expect("listed").count(),
            2,
            "nothing half is left"
        );
    }
}
