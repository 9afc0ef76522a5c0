//! The folder with the guest agent, which is mounted into every container: nothing has to be added to an image, whose
//! layers are unpacked into a disk of some hundred megabytes for each that there is.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use agentkernel_hardening::seccomp::SeccompFilters;
use agentkernel_link::{GUEST, GUEST_BUILD};

use crate::files::{make_private, one_at_a_time};

/// Name of the agent in it.
const AGENT: &str = "agent";

/// Name of its filters of system calls.
pub(crate) const FILTERS: &str = "filters";

/// Others than its owner execute it and cannot read it: a process of such a program is nobody's to look into, from its
/// first instruction on (`BINPRM_FLAGS_ENFORCE_NONDUMP`). Programs of the agent's are started while a sandbox's own run.
const AGENT_MODE: u32 = 0o511;

const FILTERS_MODE: u32 = 0o444;

/// Makes the folder below this one, or finds it as it must be. Its name says which build it is, so that it is written
/// once; whoever has changed it meanwhile has it written anew.
pub(super) fn folder(below: &Path) -> io::Result<PathBuf> {
    let folder = below.join(format!("agent-{GUEST_BUILD}"));
    make_private(below)?;
    let filters = SeccompFilters::compile().map_err(io::Error::other)?.bytes();
    let is_whole = || {
        let is = |name: &str, bytes: &[u8], mode: u32| {
            let path = folder.join(name);
            let has_mode = fs::symlink_metadata(&path).is_ok_and(|facts| facts.mode() & 0o7777 == mode);
            has_mode && fs::read(path).is_ok_and(|there| there == bytes)
        };
        let count = fs::read_dir(&folder).map_or(0, Iterator::count);
        count == 2 && is(AGENT, GUEST, AGENT_MODE) && is(FILTERS, &filters, FILTERS_MODE)
    };
    let _writing = one_at_a_time();
    if is_whole() {
        return Ok(folder);
    }
    let new = below.join(format!("agent-{GUEST_BUILD}.{}", std::process::id()));
    let missing_is_fine = |done: io::Result<()>| match done {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    };
    missing_is_fine(fs::remove_dir_all(&new))?;
    fs::create_dir(&new)?;
    write(&new.join(AGENT), GUEST, AGENT_MODE)?;
    write(&new.join(FILTERS), &filters, FILTERS_MODE)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    missing_is_fine(fs::remove_dir_all(&folder))?;
    match fs::rename(&new, &folder) {
        // Another program was quicker, and made the same.
        Err(_) if is_whole() => fs::remove_dir_all(&new)?,
        renamed => renamed?,
    }
    Ok(folder)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_agent_and_its_filters_and_is_written_anew_if_anything_else() {
        let home = tempfile::tempdir().expect("a folder");
        let below = home.path().join("run");
        let made = folder(&below).expect("made");
        let agent = made.join(AGENT);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode(&below), mode(&made), mode(&agent)), (0o700, 0o755, 0o511));
        assert_eq!(fs::read(&agent).expect("read"), GUEST);
        let written = fs::metadata(&agent).expect("there").modified().expect("a time");
        assert_eq!(folder(&below).expect("found"), made);
        assert_eq!(fs::metadata(&agent).expect("there").modified().expect("a time"), written, "written once");
        fs::write(made.join("more"), "x").expect("written");
        folder(&below).expect("made anew");
        assert_eq!(fs::read_dir(&made).expect("listed").count(), 2);
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("changed");
        folder(&below).expect("made anew");
        assert_eq!(mode(&agent), 0o511);
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("changed");
        fs::write(&agent, "another program").expect("written");
        folder(&below).expect("made anew");
        assert_eq!(fs::read(&agent).expect("read"), GUEST);
        assert_eq!(fs::read_dir(&below).expect("listed").count(), 1, "nothing else is left");
    }
}
