//! The root device: an ext4 file system made of a folder, without privileges, and kept by what it was made of.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::Program;
use sha2::{Digest as _, Sha256};

use crate::folder::{PrivateFolder, make_private};
use crate::kernel::hex;
use crate::selection::{BLOCK, Selection};

/// Inode of ext4, bytes.
const INODE: u64 = 256;

/// What ext4 needs beside files, bytes: its own tables, and the folder `lost+found`.
const OVERHEAD: u64 = 16 << 20;

/// How long a file system of some gigabytes may take to be made.
const DEADLINE: Duration = Duration::from_secs(1800);

/// Changes with the way in which images are made.
const RECIPE: &[u8] = b"ext4 2";

/// Most that is taken of the host's programs, bytes: copying more takes minutes.
const PROGRAMS_MAX: u64 = 4 << 30;

/// Images that are kept: those that were used last.
const IMAGES_MAX: usize = 8;

/// Entries of a folder that are looked at without another thread: in less than two milliseconds, if a disk has not to be asked.
const LITTLE: usize = 2000;

const WHAT: &str = "make the root device";

const ROOTFS: &str = "name a folder that holds a system: --rootfs FOLDER";

/// Where images are kept.
#[derive(Debug, Clone)]
pub(crate) struct ImageStore {
    folder: PathBuf,
    /// `mke2fs`.
    maker: PathBuf,
}

impl ImageStore {
    pub(crate) fn below(home: &Path, maker: &Path) -> Self {
        Self { folder: home.join("images"), maker: maker.to_owned() }
    }

    /// The image of a folder that holds little, if there is one: found sooner than another thread would have begun.
    pub(crate) fn found(&self, folder: &Path) -> Option<PathBuf> {
        // Whatever is wrong is told by whoever makes it then.
        let path = self.path(&Selection::whole_if_small(folder, LITTLE).ok()?);
        is_used_again(&path).then_some(path)
    }

    /// The image of a folder. Blocks.
    pub(crate) fn of_folder(&self, folder: &Path) -> Result<PathBuf> {
        let failed = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(folder.display());
        self.of(&Selection::whole(folder).map_err(failed)?).map_err(failed)
    }

    /// The image of what programs below a `/usr` need to run, without what is not for us to read. Blocks.
    pub(crate) fn of_programs(&self, usr: &Path) -> Result<PathBuf> {
        let failed = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(usr.display()).hint(ROOTFS);
        let selection = Selection::of_programs(usr).map_err(failed)?;
        if selection.bytes() > PROGRAMS_MAX {
            let (bytes, most) = (selection.bytes() >> 20, PROGRAMS_MAX >> 20);
            let why = format!("this host's programs take {bytes} MiB, and {most} are copied at most");
            return Err(Error::new(ErrorKind::ControlRefused, WHAT, why).on(usr.display()).hint(ROOTFS));
        }
        self.of(&selection).map_err(failed)
    }

    /// The image of a selection, made unless there is one.
    fn of(&self, selection: &Selection) -> io::Result<PathBuf> {
        let path = self.path(selection);
        if is_used_again(&path) {
            return Ok(path);
        }
        make_private(&self.folder)?;
        // Whoever else makes it is waited for; what whoever was killed has left goes.
        let turn = PrivateFolder::make_in_turn(&self.folder.join("new"), &name_of(&path))?;
        if is_used_again(&path) {
            return Ok(path);
        }
        let new = turn.path().join("image");
        make(&selection.staged(&turn.path().join("root"))?, &self.maker, &new, selection)?;
        publish(&new, &path)?;
        self.forget_old();
        Ok(path)
    }

    /// Where the image of a selection is, if there is one.
    fn path(&self, selection: &Selection) -> PathBuf {
        let mut digest = Sha256::new_with_prefix(RECIPE);
        selection.digest(&mut digest);
        self.folder.join(format!("{}.ext4", hex(&digest.finalize())))
    }

    /// Removes those that were not used for longest. A machine that runs keeps its own.
    fn forget_old(&self) {
        let images = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let used = |path: &PathBuf| fs::metadata(path).and_then(|facts| facts.modified()).ok();
        let images = images.filter(|path| path.extension().is_some_and(|kind| kind == "ext4"));
        let mut images: Vec<_> = images.map(|path| (used(&path), path)).collect();
        images.sort();
        for (_, path) in images.iter().rev().skip(IMAGES_MAX) {
            // One that cannot be removed now is by the next.
            fs::remove_file(path).ok();
        }
    }
}

/// The name of an image, without its kind.
fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether it is there; it is not forgotten before others, then.
fn is_used_again(path: &Path) -> bool {
    File::open(path).is_ok_and(|image| {
        image.set_modified(SystemTime::now()).ok();
        true
    })
}

/// It is there as a whole, and the VMM, which is another user where we are root, may read it: by a descriptor, for the
/// folder is closed to it.
fn publish(new: &Path, path: &Path) -> io::Result<()> {
    fs::set_permissions(new, Permissions::from_mode(0o444))?;
    fs::rename(new, path)
}

fn make(folder: &Path, maker: &Path, image: &Path, selection: &Selection) -> io::Result<()> {
    let (bytes, files) = (selection.bytes(), selection.files());
    // Bytes that surely hold it.
    let size = bytes + bytes / 16 + (files + 64) * INODE + OVERHEAD;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use agentkernel_testkit::tool_or_skip;

    use super::*;

    #[test]
    fn an_image_is_made_once_and_anew_when_its_folder_has_changed() {
        let Some(maker) = tool_or_skip("mke2fs") else { return };
        let home = tempfile::tempdir().expect("a folder");
        let root = home.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("made");
        fs::write(root.join("bin/program"), vec![7; 100_000]).expect("written");
        let store = ImageStore::below(home.path(), &maker);
        assert_eq!(store.found(&root), None);
        let image = store.of_folder(&root).expect("made");
        assert_eq!(store.found(&root).as_ref(), Some(&image));
        let magic = fs::read(&image).expect("read")[1024 + 56..1024 + 58].to_vec();
        assert_eq!(magic, [0x53, 0xef], "ext4 begins so");
        let made = fs::metadata(&image).expect("there").ino();
        assert_eq!(store.of_folder(&root).expect("found"), image);
        assert_eq!(fs::metadata(&image).expect("there").ino(), made);
        fs::write(root.join("bin/other"), "more").expect("written");
        assert_eq!(store.found(&root), None);
        assert_ne!(store.of_folder(&root).expect("made"), image);
        assert!(store.of_folder(Path::new("/nowhere")).is_err());
        let useless = ImageStore::below(home.path(), Path::new("/bin/false"));
        fs::write(root.join("bin/more"), "more").expect("written");
        assert!(useless.of_folder(&root).is_err());
        let listed = || fs::read_dir(home.path().join("images")).expect("listed").flatten();
        assert_eq!(listed().count(), 3, "two images, and where new ones are made");
        assert_eq!(
            fs::read_dir(home.path().join("images/new")).expect("listed").count(),
            0,
            "nothing half is left"
        );
        let whole = store.of_programs(&root).expect("made");
        for number in 0..IMAGES_MAX {
            fs::write(root.join("bin/more"), vec![7; number]).expect("written");
            store.of_folder(&root).expect("made");
        }
        assert_eq!(listed().count(), 1 + IMAGES_MAX, "the oldest are gone");
        assert!(!whole.exists() && !image.exists());
    }
}
