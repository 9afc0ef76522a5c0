//! One sandbox's control group: where it is, who is in it, its end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{kernel_file, pause};

/// One sandbox's control group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Group {
    /// A folder for each controller that limits something.
    V1 {
        /// By controller.
        folders: BTreeMap<String, PathBuf>,
        /// Where a container runtime makes folders of the same name besides.
        others: Vec<PathBuf>,
    },
    /// The folder for all of them.
    V2(PathBuf),
}

/// The group within a sandbox's group that a container runtime makes and removes by itself, so that limits and
/// counts are still there when it has.
pub const INNER: &str = "box";

impl Group {
    pub(crate) fn file(&self, controller: &str, name: &str) -> PathBuf {
        match self {
            Self::V1 { folders, .. } => {
                folders.get(controller).map(|folder| folder.join(name)).unwrap_or_default()
            }
            Self::V2(folder) => folder.join(name),
        }
    }

    pub(crate) fn read(&self, controller: &str, name: &str) -> io::Result<String> {
        let path = self.file(controller, name);
        kernel_file::read_text(&path)
            .map(|text| text.trim().to_owned())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Whether a process is in it, in every tree that it has a folder in. One that has ended is in no group.
    pub fn holds(&self, pid: i32, name: &str) -> bool {
        let text = match kernel_file::read_text(format!("/proc/{pid}/cgroup")) {
            Ok(text) => text,
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        };
        if is_exiting(pid) {
            return true; // v1 says "/" then
        }
        // `ID:CONTROLLERS:PATH`; on v2 there are no controllers in it.
        let is_in = |controller: &str| {
            text.lines().any(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let has = parts.next().is_some_and(|list| list.split(',').any(|one| one == controller));
                let is_inside = |path: &str| {
                    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == "/box")
                };
                has && parts.next().is_some_and(is_inside)
            })
        };
        match self {
            Self::V1 { folders, .. } => folders.keys().all(|controller| is_in(controller)),
            Self::V2(_) => is_in(""),
        }
    }

    /// Processes in it now.
    pub fn processes(&self) -> Vec<i32> {
        let text = self.read("pids", "cgroup.procs").unwrap_or_default();
        let inner = self.read("pids", "box/cgroup.procs").unwrap_or_default();
        text.lines().chain(inner.lines()).filter_map(|line| line.parse().ok()).collect()
    }

    /// Where to write, and what to write for "stop" and "go on".
    fn freezer(&self) -> (PathBuf, [&'static str; 2]) {
        match self {
            Self::V1 { .. } => (self.file("freezer", "freezer.state"), ["FROZEN", "THAWED"]),
            Self::V2(folder) => (folder.join("cgroup.freeze"), ["1", "0"]),
        }
    }

    /// Whether time stands still for all that is in it.
    pub fn is_frozen(&self) -> io::Result<bool> {
        match self {
            Self::V1 { .. } => Ok(self.read("freezer", "freezer.state")? == "FROZEN"),
            Self::V2(_) => Ok(self.read("", "cgroup.events")?.lines().any(|line| line == "frozen 1")),
        }
    }

    /// Stops time for what is in it, or lets it go on; returns when that is so. Bounded: a process deep in the
    /// kernel may take a while to stop.
    ///
    /// On v1 a process that is forked in the wrong moment keeps its group from ever being frozen (the kernel's
    /// freezer-subsystem.rst: "userspace may retry"): the order is given again, and now and then all are let go on first.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        const ATTEMPTS: u32 = 1000;
        let (file, [stop, go_on]) = self.freezer();
        for attempt in 1..=ATTEMPTS {
            if frozen && attempt % 20 == 0 {
                fs::write(&file, go_on)?;
                pause(1);
            }
            fs::write(&file, if frozen { stop } else { go_on })?;
            if self.is_frozen()? == frozen {
                return Ok(());
            }
            pause(if attempt < 10 { 1 } else { 5 });
        }
        if frozen {
            fs::write(&file, go_on)?;
        }
        Err(io::Error::other("some of its processes do not stop"))
    }

    /// Kills what is in it, until nothing is. Bounded: a process that a kernel bug keeps alive must
    /// not keep us.
    pub fn kill_all(&self) -> io::Result<()> {
        for attempt in 0..200 {
            let pids = self.processes();
            if pids.is_empty() {
                return Ok(());
            }
            if attempt == 0 {
                // What is frozen does not die; where there is no freezer, nothing is frozen.
                self.freeze(false).ok();
            }
            for pid in pids.into_iter().filter_map(Pid::from_raw) {
                // It may have ended meanwhile, and then all is well.
                if kill_process(pid, Signal::KILL) == Err(rustix::io::Errno::PERM) {
                    return Err(io::Error::other(format!("not allowed to kill process {pid:?}")));
                }
            }
            pause(5);
        }
        Err(io::Error::other("its processes do not die"))
    }

    /// Removes the group's folders; those that are gone are no error.
    pub fn remove(&self) -> io::Result<()> {
        // Every folder is tried; the first failure is told.
        let remove =
            |folder: &PathBuf| remove_folder(&folder.join(INNER)).and_then(|()| remove_folder(folder));
        let results: Vec<_> = self.all_folders().into_iter().map(remove).collect();
        results.into_iter().collect()
    }

    /// Ends what is in it and removes it, if it is there.
    pub fn end(&self) -> io::Result<()> {
        if self.exists() {
            self.kill_all()?;
            self.remove()?;
        }
        Ok(())
    }

    /// The folders that exist, for messages and leak checks.
    pub fn exists(&self) -> bool {
        self.all_folders().into_iter().any(|folder| folder.exists())
    }

    fn all_folders(&self) -> Vec<&PathBuf> {
        match self {
            Self::V1 { folders, others } => folders.values().chain(others).collect(),
            Self::V2(folder) => vec![folder],
        }
    }
}

/// Whether a process is on its way out or a zombie: `PF_EXITING` in the flags of its stat file, proc(5).
fn is_exiting(pid: i32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(stat) = kernel_file::read_text(format!("/proc/{pid}/stat")) else { return true };
    let flags =
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    for attempt in 0..200 {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The last process has been reaped a moment ago; the kernel lets go of the group next.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < 199 => pause(5),
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
            }
        }
    }
    Ok(())
}
