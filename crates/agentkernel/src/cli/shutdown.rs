//! `agentkernel shutdown`: ends the daemon.

use std::os::fd::OwnedFd;

use agentkernel_api::ShutdownMode;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::daemon;
use crate::environment::Environment;
use crate::errors::{self, Failure};

/// End the daemon, and every sandbox with it
///
/// Returns when it is gone. It takes nothing new, and lets runs and commands under way end in their time (serve
/// --drain-timeout); if we are interrupted, it goes on with that.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  agentkernel shutdown\n  agentkernel shutdown --kill")]
pub struct Args {
    /// Kill runs and commands that are under way
    #[arg(long)]
    kill: bool,
}

/// Ends it, and waits for that.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let mode = if args.kill { ShutdownMode::Kill } else { ShutdownMode::Drain };
    let process = daemon::ask(environment, async |client| {
        // Held before it can end, so that it is no other one of the same number.
        let process = process(client.info().await?.pid);
        client.shut_down(mode).await?;
        Ok(process)
    })?;
    if let Some(process) = process {
        while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(Errno::INTR) {}
    }
    errors::say("the daemon has ended");
    Ok(0)
}

/// A process of this host; `None` if it is gone already.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
