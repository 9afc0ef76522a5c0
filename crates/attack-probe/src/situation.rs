//! What an attempt may know: what the tester said, and the state in which the probe was started.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::sys::{self, call};

/// What the tester planted and what the probe found at its start.
#[derive(Debug, Default)]
pub struct Situation {
    /// Random words that must not be readable in the sandbox.
    pub canaries: Vec<Vec<u8>>,
    /// Files of the host.
    pub host_paths: Vec<PathBuf>,
    /// Ports on which the host listens at its loopback address.
    pub host_ports: Vec<u16>,
    /// Abstract unix sockets on which the host listens.
    pub host_abstract: Vec<OsString>,
    /// The host's name.
    pub host_hostname: Option<OsString>,
    /// Processes of the host, by their ids there.
    pub host_pids: Vec<i32>,
    /// The environment that the probe was given.
    pub environment: Vec<(OsString, OsString)>,
    /// Descriptors above 2 that the probe was given.
    pub inherited: Vec<i32>,
    /// The probe's own id.
    pub pid: i32,
    /// The probe's process group as it sees it: 0 when its leader is in an outer pid namespace.
    pub process_group: i64,
    /// The probe's session as it sees it: 0 when its leader is in an outer pid namespace.
    pub session: i64,
}

impl Situation {
    /// What can be seen at the start. Call it before anything opens a descriptor.
    pub fn at_start() -> Self {
        Situation {
            inherited: open_descriptors(),
            environment: std::env::vars_os().collect(),
            pid: sys::own_pid(),
            process_group: call!(libc::SYS_getpgid, 0).unwrap_or(-1),
            session: call!(libc::SYS_getsid, 0).unwrap_or(-1),
            ..Situation::default()
        }
    }

    /// Whether any canary is in the bytes.
    pub fn canary_in(&self, bytes: &[u8]) -> bool {
        self.canaries.iter().any(|canary| contains(bytes, canary))
    }
}

/// Whether `part`, not empty, is somewhere in `whole`.
pub fn contains(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

/// Descriptors that a program can have been given: none above the usual hard limit of a service.
const DESCRIPTOR_MAX: i32 = 65_536;

fn open_descriptors() -> Vec<i32> {
    let is_open = |fd: &i32| call!(libc::SYS_fcntl, *fd, libc::F_GETFD).is_ok();
    (3..DESCRIPTOR_MAX).filter(is_open).collect()
}
