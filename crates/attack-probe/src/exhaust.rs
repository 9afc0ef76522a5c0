//! Attacks that use something up. Each one is run alone, does it for real, and has an end of its own.
//!
//! Lines on the way say how far it is (at every power of two), so that something is known of an attack that
//! ends with its process. The last line says how many of what were had, and with which errno it ended: 0 when
//! the attack's own limit came first, which means that nothing stopped it.

mod memory;
mod output;
mod processes;
mod storage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::output::line;
use crate::sys::Errno;

/// How much of it.
#[derive(Debug, Default)]
pub struct Options {
    /// Where.
    pub path: Option<PathBuf>,
    /// MiB at most.
    pub mib: Option<u64>,
    /// Bytes at most.
    pub bytes: Option<u64>,
    /// Pieces at most.
    pub count: Option<u64>,
    /// How long.
    pub seconds: Option<u64>,
}

impl Options {
    fn mib(&self) -> u64 {
        self.mib.unwrap_or(1 << 20)
    }

    fn count(&self) -> u64 {
        self.count.unwrap_or(1_000_000)
    }

    fn time(&self, default_seconds: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default_seconds))
    }

    fn path(&self) -> Result<&Path, String> {
        self.path.as_deref().ok_or_else(|| "needs a path".into())
    }
}

/// How an attack ended.
pub struct Ended {
    /// How many of what it wanted it had.
    count: u64,
    /// What stopped it; 0 when nothing did.
    errno: Errno,
    /// Of what, and further numbers.
    detail: String,
}

/// One attack on a resource.
pub struct Exhaustion {
    name: &'static str,
    run: fn(&Options, &Progress) -> Result<Ended, String>,
}

/// Tells how far an attack is.
pub struct Progress {
    name: &'static str,
}

impl Progress {
    /// A line at every power of two. A reader who is gone stops nothing.
    fn tell(&self, count: u64) {
        if count.is_power_of_two() {
            self.say("progress", count, 0, "");
        }
    }

    fn say(&self, event: &str, count: u64, errno: Errno, detail: &str) {
        let _reader_is_gone = line(&[
            ("exhaust", self.name.into()),
            ("event", event.into()),
            ("count", count.into()),
            ("errno", errno.into()),
            ("detail", detail.into()),
        ]);
    }
}

const GROUPS: &[&[Exhaustion]] = &[processes::ALL, memory::ALL, storage::ALL, output::ALL];

/// Runs the attack of that name.
pub fn run(name: &str, options: &Options) -> ExitCode {
    let all = || GROUPS.iter().copied().flatten();
    let Some(attack) = all().find(|attack| attack.name == name) else {
        let names: Vec<&str> = all().map(|attack| attack.name).collect();
        eprintln!("attack-probe: there is no `{name}` to exhaust; there are {}", names.join(", "));
        return ExitCode::from(2);
    };
    let progress = Progress { name: attack.name };
    match (attack.run)(options, &progress) {
        Ok(ended) => {
            progress.say("end", ended.count, ended.errno, &ended.detail);
            ExitCode::SUCCESS
        }
        Err(why) => {
            progress.say("error", 0, 0, &why);
            ExitCode::FAILURE
        }
    }
}
