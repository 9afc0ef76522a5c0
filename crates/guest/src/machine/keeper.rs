//! Whoever keeps root's rights for the machine's next renewal, and does nothing else.
//!
//! The agent gives its rights up before the first command, and a machine that was kept while commands ran in it is renewed
//! all the same. So a process stays behind that was made before: it sees the root that the kernel has booted, and nothing of
//! what commands see, so that no link of theirs leads it anywhere. It hears the agent alone, and ends with it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use super::renewal;
use crate::sys;

/// The control group of what belongs to the machine, and to no sandbox's limits.
const GROUP: &str = "/groups/cgroup.procs";

/// To name the machine and stir its random numbers, and to set its clock.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_TIME);

/// Most that is said at once, bytes.
const SAID_MAX: usize = 4096;

/// The agent's end.
pub struct Keeper(UnixStream);

impl Keeper {
    /// Leaves one behind.
    pub fn start() -> Result<Self, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|why| format!("keeper: {why}"))?;
        match sys::fork() {
            Ok(Some(_)) => Ok(Self(ours)),
            Ok(None) => sys::raw::exit(i32::from(serve(theirs.into()).is_err())),
            Err(why) => Err(format!("keeper: {why}")),
        }
    }

    /// The same with descriptors of this number and above.
    pub fn moved(self, least: i32) -> rustix::io::Result<Self> {
        fcntl_dupfd_cloexec(self.0.as_fd(), least).map(|fd| Self(fd.into()))
    }

    /// What is kept open for it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Has the machine renewed: returns what shows it.
    pub fn renew(&self, steps: &str) -> Result<String, String> {
        let failed = |why: std::io::Error| format!("keeper: {why}");
        (&self.0).write_all(format!("{steps}\0").as_bytes()).map_err(failed)?;
        let said = hear(&self.0).map_err(failed)?;
        if said.starts_with("renewed") { Ok(said) } else { Err(said) }
    }
}

/// What is said up to the next NUL.
fn hear(mut stream: &UnixStream) -> std::io::Result<String> {
    let mut heard = Vec::new();
    loop {
        let mut bytes = [0; SAID_MAX];
        let count = stream.read(&mut bytes)?;
        heard.extend_from_slice(&bytes[..count]);
        match heard.strip_suffix(b"\0") {
            Some(said) => return String::from_utf8(said.to_vec()).map_err(std::io::Error::other),
            None if count == 0 || heard.len() > SAID_MAX => {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            None => {}
        }
    }
}

/// Renews the machine as often as it is told to.
fn serve(agent: OwnedFd) -> std::io::Result<()> {
    sys::close_all_but(&mut [agent.as_raw_fd()]);
    fs::write(GROUP, "0")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    let rights = CapabilitySets { effective: NEEDED, permitted: NEEDED, inheritable: CapabilitySet::empty() };
    set_capabilities(None, rights)?;
    let agent = UnixStream::from(agent);
    loop {
        let steps = hear(&agent)?;
        let said = renewal::renew(&steps).unwrap_or_else(|why| why);
        (&agent).write_all(format!("{said}\0").as_bytes())?;
    }
}
