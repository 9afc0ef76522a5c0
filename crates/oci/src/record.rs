//! The record of a live sandbox: a locked file that says enough to inspect it, and to clean up after
//! whoever could not.

mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agentkernel_cgroup::Hierarchy;
use agentkernel_core::{BackendKind, Error, ErrorKind, Posture, Result, SandboxName};
use serde::{Deserialize, Serialize};

use crate::lock::LockFile;
use crate::paths::{self, RuntimeDir};
use crate::posture::Expected;

pub use process::Init;

/// What is known of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: SandboxName,
    /// What holds it.
    pub backend: BackendKind,
    /// Its control group, if it has one.
    pub cgroup: Option<String>,
    /// Its first process on the host; absent while it is coming up.
    pub init: Option<Init>,
    /// What its posture must be.
    pub expected: Expected,
    /// The guest agent's secret, which whoever gets the sandbox back must know. The file is its owner's alone.
    pub(crate) token: [u8; 32],
    /// Seconds since 1970 when it was asked for.
    pub created_s: u64,
}

impl Record {
    /// Reads the posture from the host, now.
    #[must_use]
    pub fn posture(&self, runtime: &RuntimeDir) -> Posture {
        let Some(init) = self.init else { return Posture::default() };
        self.expected.check(init.pid, &siblings(runtime, init.pid))
    }

    pub(crate) fn to_json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Writes it again, for a sandbox whose lock its supervisor holds.
    pub(crate) fn rewrite(&self, runtime: &RuntimeDir) -> io::Result<()> {
        fs::write(path(runtime, &self.name), self.to_json()?)
    }
}

pub(crate) fn path(runtime: &RuntimeDir, name: &SandboxName) -> PathBuf {
    runtime.records().join(format!("{name}.json"))
}

/// Tries to take a name, a millisecond apart: a reaper holds the lock for a moment to see whether
/// its owner is alive.
const NAME_ATTEMPTS: u32 = 25;

/// The same while nobody has written there yet: on a busy host a reaper was seen to have the lock for longer.
const NAME_ATTEMPTS_EMPTY: u32 = 5000;

/// Takes the name, cleaning up after an owner that is gone.
pub(crate) fn take_name(runtime: &RuntimeDir, name: &SandboxName) -> Result<LockFile> {
    let path = path(runtime, name);
    let failed =
        |why: io::Error| Error::new(ErrorKind::Host, "take the sandbox's name", why).on(path.display());
    let lock = LockFile::acquire_soon(&path, NAME_ATTEMPTS, NAME_ATTEMPTS_EMPTY).map_err(failed)?;
    let mut lock = lock.ok_or_else(|| {
        Error::new(ErrorKind::NameTaken, "take the sandbox's name", "a live sandbox has it")
            .on(name)
            .hint("choose another --name, or leave it out")
    })?;
    let left = lock.content().map_err(failed)?;
    if !left.is_empty() {
        reap(&left).and_then(|()| remove_entrance(&path)).map_err(failed)?;
    }
    Ok(lock)
}

/// Finds a live sandbox by its name.
pub fn find(runtime: &RuntimeDir, name: &SandboxName) -> Result<Record> {
    let missing =
        || Error::new(ErrorKind::NoSuchSandbox, "find the sandbox", "no live sandbox has this name").on(name);
    live(runtime).into_iter().find(|record| record.name == *name).ok_or_else(missing)
}

/// First processes of the other live sandboxes.
pub(crate) fn siblings(runtime: &RuntimeDir, init: i32) -> Vec<i32> {
    live(runtime)
        .iter()
        .filter_map(|record| record.init)
        .map(|other| other.pid)
        .filter(|pid| *pid != init)
        .collect()
}

/// Every sandbox that is alive now and has come up.
#[must_use]
pub fn live(runtime: &RuntimeDir) -> Vec<Record> {
    let entries = fs::read_dir(runtime.records()).into_iter().flatten().flatten();
    let mut records: Vec<Record> = entries
        .filter_map(|entry| serde_json::from_slice::<Record>(&fs::read(entry.path()).ok()?).ok())
        .filter(|record| record.init.is_some_and(Init::is_alive))
        .collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    records
}

/// Cleans up after every sandbox whose owner is gone. What cannot be read or removed is left for the
/// next time, and returned.
pub(crate) fn reap_stale(runtime: &RuntimeDir) -> Vec<String> {
    let mut left = Vec::new();
    let mut folders = vec![runtime.records()];
    if rustix::process::geteuid().is_root() {
        // The notes in id blocks know of sandboxes under every home, even one that was deleted.
        folders.push(paths::ID_BLOCKS.into());
    }
    let entries = folders.into_iter().flat_map(fs::read_dir).flatten();
    // A socket belongs to the record beside it.
    let is_record = |entry: &fs::DirEntry| entry.path().extension().is_none_or(|name| name != "sock");
    for entry in entries.flatten().filter(is_record) {
        if let Err(error) = reap_file(&entry.path()) {
            left.push(format!("{}: {error}", entry.path().display()));
        }
    }
    left
}

fn reap_file(path: &Path) -> io::Result<()> {
    let Some(mut lock) = LockFile::acquire(path)? else { return Ok(()) };
    let content = lock.content()?;
    if !content.is_empty() {
        reap(&content)?;
    }
    remove_entrance(path)?;
    lock.remove()
}

/// Removes the socket by which the sandbox could have been got back.
fn remove_entrance(record: &Path) -> io::Result<()> {
    match fs::remove_file(record.with_extension("sock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Kills and removes what the record, or an id block's note, says.
pub(crate) fn reap(content: &[u8]) -> io::Result<()> {
    let Ok(record) = serde_json::from_slice::<Stale>(content) else {
        return Ok(()); // cut short by a crash before anything was started
    };
    // Whoever died holding the lock let go of it before his children heard of his death: until they are gone, they may make
    // what is removed here once more.
    record.makers.iter().try_for_each(|maker| maker.end())?;
    if let Some(init) = record.init.filter(|init| init.is_alive())
        && let Some(pid) = rustix::process::Pid::from_raw(init.pid)
    {
        // Its supervisor's death killed it already, unless it is just about to.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    let Some(cgroup) = record.cgroup.filter(|path| is_ours(path)) else { return Ok(()) };
    Hierarchy::detect().group(&cgroup).end()
}

/// The part of a record that matters after its owner's death. Also the note in an id block.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stale {
    pub(crate) cgroup: Option<String>,
    #[serde(default)]
    pub(crate) init: Option<Init>,
    /// Who is about to make something of it, while a container runtime is: its supervisor, and the runtime.
    #[serde(default)]
    makers: Vec<Init>,
}

impl Stale {
    /// What is to be cleaned up of a sandbox that nobody has begun to make.
    pub(crate) fn of_group(cgroup: Option<String>) -> Self {
        Self { cgroup, init: None, makers: Vec::new() }
    }
}

/// Notes in the sandbox's locked files who makes it from now on. The host side writes its record anew when it is made.
pub(crate) fn note_makers(locks: &mut [LockFile], makers: &[Init]) -> io::Result<()> {
    for lock in locks {
        let mut content: serde_json::Value = serde_json::from_slice(&lock.content()?)?;
        content["makers"] = serde_json::to_value(makers)?;
        lock.write(&serde_json::to_vec(&content)?)?;
    }
    Ok(())
}

/// A group of ours, and not a path that a damaged record happens to contain.
fn is_ours(path: &str) -> bool {
    let Some(inside) = path.strip_prefix('/') else { return false };
    let plain = inside.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    let own = path.rsplit('/').next().and_then(|name| name.strip_prefix("agentkernel-"));
    plain && own.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_ours_are_ever_removed() {
        assert!(is_ours("/agentkernel-x"));
        assert!(is_ours("/user.slice/user@7.service/agentkernel-x"));
        for path in [
            "/user.slice/../agentkernel-x",
            "/agentkernel-x/init",
            "/",
            "/system.slice",
            "/agentkernel-",
            "/agentkernel-x/../../y",
            "agentkernel-x",
            "",
        ] {
            assert!(!is_ours(path), "{path}");
        }
    }

    #[test]
    fn a_record_that_was_cut_short_is_no_obstacle() {
        let folder = tempfile::tempdir().expect("temp dir");
        let runtime = RuntimeDir::locate(Some(folder.path()), None, 0);
        runtime.prepare().expect("prepare");
        let file = runtime.records().join("broken.json");
        fs::write(&file, "{\"name\":\"bro").expect("write");
        assert_eq!(reap_stale(&runtime), Vec::<String>::new());
        assert!(!file.exists());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process that is nobody's sandbox")]
    fn whoever_was_making_a_sandbox_has_ended_before_it_is_cleaned_up() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("made.json");
        let mut lock = LockFile::acquire(&path).expect("io").expect("free");
        lock.write(&serde_json::to_vec(&Stale::of_group(None)).expect("JSON")).expect("write");
        let mut maker = std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("start");
        let process = Init::of(i32::try_from(maker.id()).expect("pid")).expect("alive");
        note_makers(std::slice::from_mut(&mut lock), &[process]).expect("note");
        reap(&lock.content().expect("read")).expect("reap");
        assert!(process.has_ended());
        assert!(!maker.wait().expect("wait").success());
        // A second time nobody is there.
        reap(&lock.content().expect("read")).expect("reap");
    }
}
