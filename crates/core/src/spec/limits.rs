//! Limits of a sandbox: everything has one, and lowering one is said by name.

use std::fmt;
use std::str::FromStr;

use crate::{BackendKind, ByteSize, CpuCount, Error, ErrorKind, Profile, Result};

/// A limit, or the user's word that there is to be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit<T> {
    /// At most so much; a sandbox for which this cannot be enforced does not start.
    At(T),
    /// No limit of its own. Never a default.
    Unlimited,
}

impl<T: Copy> Limit<T> {
    /// The limit, if there is one.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::At(value) => Some(value),
            Self::Unlimited => None,
        }
    }
}

impl<T: FromStr<Err = String>> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" { Ok(Self::Unlimited) } else { text.parse().map(Self::At) }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(value) => value.fmt(out),
            Self::Unlimited => out.write_str("unlimited"),
        }
    }
}

/// What a sandbox may use. The one home of these defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Processors.
    pub cpus: Limit<CpuCount>,
    /// Memory, tmpfs included; swap is never given.
    pub memory: Limit<ByteSize>,
    /// Processes and threads.
    pub pids: Limit<u32>,
    /// Size of each writable place, and of each file in it.
    pub disk: ByteSize,
    /// Open files of a process: soft limit; the hard limit is four times that. At least
    /// [`Limits::OPEN_FILES_MIN`].
    pub open_files: u32,
}

impl Limits {
    /// Fewest open files of a process. The guest agent keeps both ends of its stream and its door at numbers from 64
    /// on, out of the way of what its children open, and a limit is one more than the highest number.
    pub const OPEN_FILES_MIN: u32 = 64 + 3;

    /// The defaults of a profile.
    #[must_use]
    pub const fn of(profile: Profile) -> Self {
        let (cpus, memory_mib, pids, disk_mib, open_files) = match profile {
            // 1024 open files is the default of every distribution's login shell.
            Profile::Restrictive => (1, 512, 256, 1024, 1024),
            Profile::Moderate => (2, 2048, 1024, 4096, 4096),
            Profile::Permissive => (4, 8192, 4096, 16384, 16384),
        };
        Self {
            cpus: Limit::At(CpuCount::whole(cpus)),
            memory: Limit::At(ByteSize::mib(memory_mib)),
            pids: Limit::At(pids),
            disk: ByteSize::mib(disk_mib),
            open_files,
        }
    }

    /// The same with other memory and processors.
    #[must_use]
    pub fn with_size(self, Resize { memory, cpus }: Resize) -> Self {
        Self { memory, cpus, ..self }
    }

    /// Refuses to start without those of these that are asked for, by their flags' names: `memory`, `cpus`, `pids`. They can be
    /// had by the way out, or given up by name.
    pub fn refuse_unenforced(&self, names: &[&str], why: &str, way_out: &str) -> Result<()> {
        let is_asked_for = |name: &&&str| match **name {
            "memory" => self.memory != Limit::Unlimited,
            "cpus" => self.cpus != Limit::Unlimited,
            _ => self.pids != Limit::Unlimited,
        };
        let refused: Vec<&str> = names.iter().filter(is_asked_for).copied().collect();
        if refused.is_empty() {
            return Ok(());
        }
        let flags: Vec<String> = refused.iter().map(|name| format!("--{name} unlimited")).collect();
        let hint = format!("{way_out}, or give the limit up by name: {}", flags.join(" "));
        Err(Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(refused.join(", ")).hint(hint))
    }
}

/// The limits that may change while a sandbox lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resize {
    /// Memory, tmpfs included.
    pub memory: Limit<ByteSize>,
    /// Processors.
    pub cpus: Limit<CpuCount>,
}

impl Resize {
    /// How a backend that cannot do it refuses.
    pub(crate) fn not_supported(&self, backend: BackendKind) -> Error {
        let what = format!("resize the sandbox to memory {}, cpus {}", self.memory, self.cpus);
        Error::new(ErrorKind::NotSupported, what, "limits of a live sandbox cannot be changed").on(backend)
    }
}

impl From<&Limits> for Resize {
    fn from(limits: &Limits) -> Self {
        Self { memory: limits.memory, cpus: limits.cpus }
    }
}
