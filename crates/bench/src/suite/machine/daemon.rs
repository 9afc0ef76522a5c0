//! The daemon that holds sandboxes which live, and warm ones: the run's own, or one that was named.

use std::io;
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::Site;
use super::course::words;
use crate::refusal::host;
use crate::text;

/// How long it may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a daemon looks in its home for what machines are made of.
const MACHINES: &str = "microvm";

/// Sandboxes of 512 MiB that a daemon's pool has room for unless it is told otherwise.
const ROOM: u32 = 16;

/// A daemon that answers.
#[derive(Debug)]
pub struct Daemon {
    is_own: bool,
}

impl Daemon {
    /// The one that was named, else a new one in the run's own home.
    ///
    /// # Errors
    /// It does not begin, or the one that was named does not answer.
    pub fn begin(site: &Site) -> Result<Self> {
        let daemon = Self { is_own: site.daemon.is_none() };
        if daemon.is_own {
            std::fs::create_dir_all(&site.home)
                .map_err(|why| host("make the daemon's home", site.home.display(), why))?;
            if let Some(machines) = site.machines.as_ref().filter(|machines| machines.is_dir()) {
                let place = site.home.join(MACHINES);
                std::os::unix::fs::symlink(machines, &place)
                    .map_err(|why| host("make the daemon's home", place.display(), why))?;
            }
            // As many again while those are used.
            let most = 2 * site.at_once_max;
            let (room, has_room) = (format!("0..{most}"), most <= ROOM);
            let words: &[&str] = if has_room { &[] } else { &["--pool", &room] };
            told(site, &[&["serve", "--detach"], words].concat(), "start the daemon")?;
        } else {
            told(site, &["pool", "ls"], "reach the daemon")?;
        }
        Ok(daemon)
    }

    /// Ends it with all its sandboxes, if it is ours.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(self, site: &Site) -> Result<()> {
        if self.is_own { told(site, &["shutdown"], "end the daemon").map(drop) } else { Ok(()) }
    }

    /// How many sandboxes of this backend are warm, and whether it keeps a pool of them at all.
    ///
    /// # Errors
    /// It does not answer, or not as it should.
    pub fn warm(site: &Site, backend: &str) -> Result<Option<u64>> {
        let said = told(site, &["pool", "ls", "--format", "json"], "ask for the pools")?;
        let json: Value = serde_json::from_slice(&said)
            .map_err(|why| host("ask for the pools", site.program.display(), why))?;
        let pools = json["pools"].as_array().into_iter().flatten();
        let keys = pools.filter(|pool| pool["backend"] == backend).flat_map(|pool| pool["keys"].as_array());
        let kept = keys.flatten().filter(|key| key["low"].as_u64().is_some_and(|low| low > 0));
        Ok(kept.filter_map(|key| key["warm"].as_u64()).reduce(|sum, warm| sum + warm))
    }
}

/// Has our program do something with the daemon that the run's samples have.
fn told(site: &Site, said: &[&str], doing: &str) -> Result<Vec<u8>> {
    let failed = |why: io::Error| host(doing, site.program.display(), why);
    let program = words([&site.program.display().to_string()]);
    let said: Vec<String> = program.into_iter().chain(said.iter().map(|word| (*word).to_owned())).collect();
    let mut client = site.start(&said, true, false).map_err(failed)?;
    let Some(ended) = client.wait(PATIENCE).map_err(failed)? else {
        client.kill().map_err(failed)?;
        return Err(failed(io::ErrorKind::TimedOut.into()));
    };
    let (stdout, stderr) = client.output();
    if ended.status.success() {
        Ok(stdout)
    } else {
        let why = text::beginning(&stderr);
        Err(Error::new(ErrorKind::Unavailable, doing, why).on(site.program.display()))
    }
}
