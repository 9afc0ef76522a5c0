//! Making a group, and entering it the quick way.
//!
//! libcontainer writes a PID to `cgroup.procs`. The kernel then waits until no other process on the host
//! can be in the middle of a fork or an exit: an RCU grace period, 8 to 21 ms measured where everything
//! else takes 9. A single thread that moves itself, by writing 0 to a v1 group's `tasks`, needs no such
//! wait (0.3 ms measured; `cgroup_procs_write_start` in kernel/cgroup/cgroup.c says why). So the
//! supervisor enters the group, lets libcontainer fork the container out of it, and leaves again. On v2
//! there is no such way, and the wait is paid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::Value;

use super::{Group, Hierarchy};

/// Character devices that a sandbox may use: null, zero, full, random, urandom, tty, ptmx and terminals
/// (`devices.txt` of the kernel). The control group of v1 says it once more than the mounts do.
const DEVICES: [&str; 8] = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*"];

impl Group {
    /// Makes the group with the limits of an OCI configuration's `linux.resources`.
    pub(crate) fn create(&self, resources: &Value) -> io::Result<()> {
        match self {
            Self::V1(folders) => {
                for folder in folders.values() {
                    match fs::create_dir(folder) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(named(folder, &error));
                        }
                        _ => {} // made, or the same folder serves two controllers
                    }
                }
                self.limit_v1(resources)
            }
            Self::V2(folder) => {
                let parent = folder.parent().unwrap_or(folder);
                let enable = parent.join("cgroup.subtree_control");
                fs::write(&enable, "+memory +cpu +pids").map_err(|error| named(&enable, &error))?;
                fs::create_dir(folder).map_err(|error| named(folder, &error))?;
                self.limit_v2(resources)
            }
        }
    }

    fn limit_v1(&self, resources: &Value) -> io::Result<()> {
        let memory = &resources["memory"];
        self.write("memory", "memory.limit_in_bytes", &memory["limit"])?;
        self.write("memory", "memory.memsw.limit_in_bytes", &memory["swap"])?;
        self.write("cpu", "cpu.cfs_period_us", &resources["cpu"]["period"])?;
        self.write("cpu", "cpu.cfs_quota_us", &resources["cpu"]["quota"])?;
        self.write("pids", "pids.max", &resources["pids"]["limit"])?;
        let Self::V1(folders) = self else { return Ok(()) };
        if folders.contains_key("devices") {
            self.write("devices", "devices.deny", &"a".into())?;
            for device in DEVICES {
                self.write("devices", "devices.allow", &format!("c {device} rwm").into())?;
            }
        }
        Ok(())
    }

    fn limit_v2(&self, resources: &Value) -> io::Result<()> {
        let memory = &resources["memory"];
        self.write("memory", "memory.max", &memory["limit"])?;
        if !memory["swap"].is_null() {
            self.write("memory", "memory.swap.max", &0.into())?;
        }
        let cpu = &resources["cpu"];
        if !cpu.is_null() {
            self.write("cpu", "cpu.max", &format!("{} {}", cpu["quota"], cpu["period"]).into())?;
        }
        self.write("pids", "pids.max", &resources["pids"]["limit"])
    }

    /// Writes a limit; one that was not asked for stays as the kernel has it.
    fn write(&self, controller: &str, name: &str, value: &Value) -> io::Result<()> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let path = self.file(controller, name);
        // Not created: a missing file is a missing controller, and that is an error.
        let mut file = OpenOptions::new().write(true).open(&path).map_err(|error| named(&path, &error))?;
        file.write_all(text.as_bytes()).map_err(|error| named(&path, &error))
    }

    /// Opens what the calling process needs to enter the group and to leave it again. Opened before its
    /// mount namespace hides the files.
    pub(crate) fn door(&self, hierarchy: &Hierarchy) -> io::Result<Door> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let (name, mut pairs) = match self {
            Self::V1(_) => ("tasks", Vec::new()),
            Self::V2(_) => ("cgroup.procs", Vec::new()),
        };
        match (self, hierarchy) {
            (Self::V1(folders), Hierarchy::V1 { mounts, .. }) => {
                for (controller, folder) in folders {
                    let Some(mount) = mounts.get(controller) else { continue };
                    let home = own_path(&own, controller).unwrap_or("/").trim_start_matches('/');
                    pairs.push((folder.join(name), mount.join(home).join(name)));
                }
            }
            (Self::V2(folder), _) => {
                let home = own_path(&own, "").unwrap_or("/").trim_start_matches('/');
                pairs.push((folder.join(name), Path::new(super::ROOT).join(home).join(name)));
            }
            (Self::V1(_), _) => {}
        }
        let open =
            |path: &Path| OpenOptions::new().write(true).open(path).map_err(|error| named(path, &error));
        let mut door = Door { enter: Vec::new(), leave: Vec::new() };
        for (inside, outside) in pairs {
            door.enter.push(open(&inside)?);
            door.leave.push(open(&outside)?);
        }
        Ok(door)
    }
}

/// The way into a group and back.
pub(crate) struct Door {
    enter: Vec<File>,
    leave: Vec<File>,
}

impl Door {
    /// Moves the calling process, which has one thread, into the group.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        move_self(&mut self.enter)
    }

    /// Moves it back to where it was.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        move_self(&mut self.leave)
    }
}

fn move_self(files: &mut [File]) -> io::Result<()> {
    // 0 is the writer itself.
    files.iter_mut().try_for_each(|file| file.write_all(b"0"))
}

/// The caller's own group for a controller, from `/proc/self/cgroup`: `ID:CONTROLLERS:PATH` lines.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|name| name == controller).then(|| parts.next())?
    })
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_own_group_is_found_on_v1_and_v2() {
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/e\n";
        assert_eq!(own_path(own, "memory"), Some("/a/b"));
        assert_eq!(own_path(own, "cpuacct"), Some("/c"));
        assert_eq!(own_path(own, ""), Some("/e"));
        assert_eq!(own_path(own, "pids"), None);
    }

    #[test]
    fn a_missing_controller_is_an_error_and_not_a_new_file() {
        let folder = tempfile::tempdir().expect("temp dir");
        let group = Group::V2(folder.path().to_owned());
        assert!(group.write("memory", "memory.max", &1.into()).is_err());
        assert!(!folder.path().join("memory.max").exists());
    }

    #[test]
    fn limits_are_written_as_a_unified_group_wants_them() {
        let folder = tempfile::tempdir().expect("temp dir");
        for name in ["memory.max", "memory.swap.max", "cpu.max", "pids.max"] {
            fs::write(folder.path().join(name), "").expect("made");
        }
        let group = Group::V2(folder.path().to_owned());
        let resources = serde_json::json!({
            "memory": {"limit": 4096, "swap": 4096},
            "cpu": {"quota": 150_000, "period": 100_000},
            "pids": {"limit": 7},
        });
        group.limit_v2(&resources).expect("written");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!(read("memory.max"), "4096");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "7");
    }
}
