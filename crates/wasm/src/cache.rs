//! Machine code on disk, so that a module is compiled once and not at each start.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, Module};

use crate::sys;

/// Nobody waits longer for another to compile the same.
const TURN_DEADLINE: Duration = Duration::from_secs(120);

/// A folder of machine code. Everything that goes wrong with it costs time and nothing else: the module is compiled.
pub(crate) struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// A cache in this folder, which is made when it is first written to; without one, nothing is kept.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The module of these bytes: taken from the cache, or compiled and kept.
    pub(crate) fn module(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Module> {
        if self.folder.is_none() { Module::new(engine, wasm) } else { Ok(self.compiled(engine, wasm)?.0) }
    }

    /// The same, with its machine code.
    pub(crate) fn compiled(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<(Module, Vec<u8>)> {
        let path = self.folder.as_ref().map(|folder| folder.join(name_of(engine, wasm)));
        let taken = || {
            let code = path.as_deref().and_then(read)?;
            Some((sys::deserialize(engine, &code).ok()?, code))
        };
        if let Some(taken) = taken() {
            return Ok(taken);
        }
        // Of those who want the same at once, one compiles it.
        let _turn = self.folder.as_deref().and_then(turn);
        if let Some(taken) = taken() {
            return Ok(taken);
        }
        let code = engine.precompile_module(wasm)?;
        if let Some(path) = path
            && let Err(why) = write(&path, &code)
        {
            tracing::debug!(path = %path.display(), %why, "a compiled module is not kept");
        }
        Ok((sys::deserialize(engine, &code)?, code))
    }
}

/// Waits until nobody else compiles for this folder, but not for ever: whoever does may have been stopped. Without it, the
/// same is compiled twice.
fn turn(folder: &Path) -> Option<File> {
    make_folder(folder).ok()?;
    let folder = File::open(folder).ok()?;
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Some(folder);
    }
    let (sender, receiver) = mpsc::channel();
    let waits = move || flock(&folder, FlockOperation::LockExclusive).map(|()| sender.send(folder));
    thread::Builder::new().name("ak-compile-turn".into()).spawn(waits).ok()?;
    receiver.recv_timeout(TURN_DEADLINE).ok()
}

/// A name for what these bytes become: of the bytes, and of everything of the engine that the code depends on.
fn name_of(engine: &Engine, wasm: &[u8]) -> String {
    struct Into256<'a>(&'a mut Sha256);
    impl std::hash::Hasher for Into256<'_> {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0 // nobody asks: the digest is taken from outside
        }
    }
    let mut digest = Sha256::new_with_prefix(wasm);
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut Into256(&mut digest));
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ".cwasm"
}

/// What is kept there, if it is whole and nobody but us can have written it.
fn read(path: &Path) -> Option<Vec<u8>> {
    if !is_ours_alone(&fs::symlink_metadata(path.parent()?).ok()?) {
        return None;
    }
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).ok()?;
    let mut file = File::options().read(true).custom_flags(no_follow).open(path).ok()?;
    let facts = file.metadata().ok()?;
    if !facts.is_file() || !is_ours_alone(&facts) {
        return None;
    }
    let (mut digest, mut code) = ([0; 32], Vec::new());
    file.read_exact(&mut digest).ok()?;
    file.read_to_end(&mut code).ok()?;
    (Sha256::digest(&code)[..] == digest).then_some(code)
}

/// Whether it is this user's, and nobody else can write to it.
#[must_use]
pub fn is_ours_alone(facts: &fs::Metadata) -> bool {
    facts.uid() == rustix::process::geteuid().as_raw() && facts.mode() & 0o022 == 0
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if !is_ours_alone(&fs::symlink_metadata(folder)?) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write to its folder"));
    }
    Ok(())
}

/// Keeps it, as a whole or not at all.
fn write(path: &Path, code: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    make_folder(folder)?;
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        fs::rename(&unfinished, path)
    })();
    if written.is_err() {
        drop(fs::remove_file(&unfinished));
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ADD: &str = "(module (func (export \"f\") (result i32) i32.const 42))";

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect()
    }

    #[test]
    fn a_module_is_compiled_once_and_what_was_tampered_with_is_compiled_again() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("deep").join("cache");
        let (engine, cache) = (Engine::default(), Cache::new(Some(folder.clone())));
        cache.module(&engine, ADD.as_bytes()).expect("compiled");
        let [kept] = &files(&folder)[..] else { panic!("one file") };
        let whole = fs::read(kept).expect("read");
        assert!(read(kept).is_some());
        cache.module(&engine, ADD.as_bytes()).expect("taken from the cache");

        let mut other = whole.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        for wrong in [&whole[..whole.len() / 2], &[], &other] {
            fs::write(kept, wrong).expect("written");
            assert!(read(kept).is_none(), "{} bytes", wrong.len());
            cache.module(&engine, ADD.as_bytes()).expect("compiled again");
            assert_eq!(fs::read(kept).expect("read"), whole, "and kept again");
        }
    }

    #[test]
    fn of_those_who_want_the_same_at_once_one_compiles_it() {
        let home = tempfile::tempdir().expect("a folder");
        let first = turn(home.path()).expect("it is ours");
        let (told, hears) = mpsc::channel();
        let folder = home.path().to_owned();
        let second = thread::spawn(move || {
            told.send(()).expect("heard");
            let (engine, cache) = (Engine::default(), Cache::new(Some(folder)));
            cache.module(&engine, ADD.as_bytes()).expect("compiled");
        });
        hears.recv().expect("it has begun");
        assert!(files(home.path()).is_empty() && !second.is_finished(), "it waits for us");
        drop(first);
        second.join().expect("it ended");
        assert_eq!(files(home.path()).len(), 1);
    }

    #[test]
    fn what_others_can_write_to_is_not_trusted() {
        let home = tempfile::tempdir().expect("a folder");
        let (engine, cache) = (Engine::default(), Cache::new(Some(home.path().to_owned())));
        cache.module(&engine, ADD.as_bytes()).expect("compiled");
        let kept = files(home.path())[0].clone();
        let mode =
            |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        mode(&kept, 0o620);
        assert!(read(&kept).is_none(), "a file for a group");
        mode(&kept, 0o600);
        mode(home.path(), 0o777);
        assert!(read(&kept).is_none(), "a folder for all");
        mode(home.path(), 0o700);
        let elsewhere = home.path().join("elsewhere");
        fs::rename(&kept, &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, &kept).expect("linked");
        assert!(read(&kept).is_none(), "a link");
    }

    #[test]
    fn where_nothing_can_be_kept_modules_work_all_the_same() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("file");
        fs::write(&file, "").expect("written");
        let (engine, cache) = (Engine::default(), Cache::new(Some(file)));
        cache.module(&engine, ADD.as_bytes()).expect("compiled");
        assert_eq!(files(home.path()).len(), 1);
    }

    #[test]
    fn the_name_is_of_the_module_and_of_the_engine() {
        let (one, mut config) = (Engine::default(), wasmtime::Config::new());
        config.epoch_interruption(true);
        let other = Engine::new(&config).expect("an engine");
        assert_ne!(name_of(&one, b"a"), name_of(&one, b"b"));
        assert_ne!(name_of(&one, b"a"), name_of(&other, b"a"));
    }
}
