//! `agentkernel shutdown`: ends the daemon.

use std::os::fd::OwnedFd;

use agentkernel_api::ShutdownMode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::daemon;
use crate::environment::Environment;
use crate::errors::{self, Failure};

/// After so long it is said what is waited for.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

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
        if !has_ended(&process, Some(&PATIENCE)) {
            errors::say("waiting for runs and commands under way; agentkernel shutdown --kill does not");
        }
        while !has_ended(&process, None) {}
    }
    errors::say("the daemon has ended");
    Ok(0)
}

/// Waits for its end, at most so long, or until a signal comes.
fn has_ended(process: &OwnedFd, patience: Option<&Timespec>) -> bool {
    poll(&mut [PollFd::new(process, PollFlags::IN)], patience).is_ok_and(|ready| ready > 0)
}

/// A process of this host; `None` if it is gone already.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
