//! The folder of a run's own, and what is left of one whose owner was killed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Signal, pidfd_send_signal};

use crate::refusal::host;
use crate::sandbox::Group;
use crate::sandbox::client::{has_ended, open_process};

/// Names begin with this and end with the PID of their owner.
const PREFIX: &str = "agentkernel-bench-";

/// In it, the path of the control group that its owner uses.
const GROUP: &str = "group";

/// In it, the home of the daemon that its owner has started.
const HOME: &str = "home";
/// How long a daemon may take to its end.
const GRACE: Duration = Duration::from_secs(60);

/// A folder of this process's own.
#[derive(Debug)]
pub struct Workplace {
    path: PathBuf,
}

impl Workplace {
    /// Makes one below `parent`, once what killed owners left there is gone.
    ///
    /// # Errors
    /// The folder cannot be written to, or what was left there cannot be ended.
    pub fn new(parent: &Path, group: Option<&str>) -> Result<Self> {
        let parent =
            fs::canonicalize(parent).map_err(|why| host("find the folder", parent.display(), why))?;
        if group.is_some() {
            refuse_weakened_mount(&parent)?;
        }
        reap(&parent).map_err(|why| host("remove what a killed run left", parent.display(), why))?;
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        let make = || -> io::Result<()> {
            fs::create_dir(&path)?;
            // The sandbox's root comes through here with an id that owns nothing.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
            group.map_or(Ok(()), |group| fs::write(path.join(GROUP), group))
        };
        make().map_err(|why| host("make a folder to work in", path.display(), why))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The home of a daemon of ours.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path.join(HOME)
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// Some of it cannot be removed.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(|why| {
            let mut error = host("remove the bundles", self.path.display(), why);
            error.kind = ErrorKind::Cleanup;
            error
        })
    }
}

fn refuse_weakened_mount(folder: &Path) -> Result<()> {
    let facts = statvfs(folder).map_err(|why| host("look at the mount", folder.display(), why))?;
    refuse_flags(folder, facts.f_flag)
}

/// In a user namespace nobody may take these flags off a mount again, which gVisor's helper tries to.
fn refuse_flags(folder: &Path, flags: StatVfsMountFlags) -> Result<()> {
    if flags.intersects(StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV) {
        let why = "it is mounted nosuid or nodev, and gVisor cannot start from there";
        return Err(Error::new(ErrorKind::Unavailable, "stage bundles", why)
            .on(folder.display())
            .hint("name a folder of another file system by --work-dir"));
    }
    Ok(())
}

/// Ends and removes what owners left that are no more.
fn reap(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        let Some(owner) = owner else { continue };
        // Anybody may write into a folder for temporary files: only what is ours is believed.
        let is_ours =
            std::os::unix::fs::MetadataExt::uid(&entry.metadata()?) == rustix::process::geteuid().as_raw();
        if !is_ours || !entry.file_type()?.is_dir() || Path::new(&format!("/proc/{owner}")).exists() {
            continue;
        }
        if let Ok(group) = fs::read_to_string(entry.path().join(GROUP)) {
            Group::at(&group)?.end()?;
        }
        end_daemon(&entry.path().join(HOME))?;
        match fs::remove_dir_all(entry.path()) {
            // Somebody else has done it at the same time.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Ends the daemon whose home this is, as its environment says.
fn end_daemon(home: &Path) -> io::Result<()> {
    let is_home = [b"AGENTKERNEL_HOME=", home.as_os_str().as_encoded_bytes()].concat();
    let everybody = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = everybody.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_home = |pid: &u32| {
        let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == is_home)
    };
    for process in numbers.filter(has_home).filter_map(|pid| open_process(pid).ok()) {
        // It may have ended just now.
        pidfd_send_signal(&process, Signal::TERM).ok();
        if !has_ended(&process, GRACE)? {
            return Err(io::Error::other(format!("the daemon in {} does not end", home.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_owner_left_is_removed_and_what_a_live_one_has_is_not() {
        let parent = tempfile::tempdir().expect("a folder");
        // No process has this number: it is above the kernel's own limit.
        let dead = parent.path().join(format!("{PREFIX}4194305"));
        let alive = parent.path().join(format!("{PREFIX}1"));
        let foreign = parent.path().join("agentkernel-bench-notes");
        for folder in [&dead, &alive, &foreign] {
            fs::create_dir(folder).expect("made");
        }
        let work = Workplace::new(parent.path(), None).expect("made");
        assert!(!dead.exists() && alive.exists() && foreign.exists() && work.path().exists());
        let path = work.path().to_owned();
        assert!(path.starts_with(parent.path()));
        work.remove().expect("removed");
        assert!(!path.exists());
    }

    #[test]
    fn the_daemon_of_a_killed_owner_is_ended() {
        let parent = tempfile::tempdir().expect("a folder");
        let dead = parent.path().join(format!("{PREFIX}4194305"));
        fs::create_dir(&dead).expect("made");
        let home = dead.join(HOME).display().to_string();
        let sleep =
            agentkernel_process::Program::new(Path::new("/bin/sleep")).expect("absolute").argument("1000");
        let mut daemon = sleep.spawn_attended(&[("AGENTKERNEL_HOME", &home)]).expect("spawned");
        let mut other = sleep.spawn_attended(&[("AGENTKERNEL_HOME", "/elsewhere")]).expect("spawned");
        // Whoever was executed just now may have no environment yet.
        let until = std::time::Instant::now() + GRACE;
        while fs::read(format!("/proc/{}/environ", daemon.pid())).is_ok_and(|variables| variables.is_empty())
        {
            assert!(std::time::Instant::now() < until, "it has no environment");
            std::thread::yield_now();
        }
        Workplace::new(parent.path(), None).expect("made").remove().expect("removed");
        assert!(!dead.exists() && daemon.has_ended().expect("asked").is_some());
        assert!(other.has_ended().expect("asked").is_none());
    }

    #[test]
    fn a_folder_without_devices_is_refused_with_the_way_out() {
        let folder = Path::new("/somewhere");
        for flags in [StatVfsMountFlags::NOSUID, StatVfsMountFlags::NODEV | StatVfsMountFlags::RELATIME] {
            let refused = refuse_flags(folder, flags).expect_err("refused");
            assert!(refused.hint.is_some_and(|hint| hint.contains("--work-dir")));
        }
        assert!(refuse_flags(folder, StatVfsMountFlags::RELATIME).is_ok());
    }
}
