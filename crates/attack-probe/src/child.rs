//! Child processes inside an attempt: steps that would spoil the attempt's own process, and victims.

use std::time::Duration;

use crate::attempt::Outcome;
use crate::sys::{self, End, Errno, Fork, Reply};

/// How long a step in a child may take: less than an attempt may.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a step in a child and brings back its reply.
pub fn in_child(step: impl FnOnce() -> Reply) -> Outcome {
    let pid = match sys::fork() {
        Ok(Fork::Parent(pid)) => pid,
        Ok(Fork::Child) => {
            sys::die_with_parent();
            // The exit code carries the errno: all of them are below 256.
            sys::exit_now(step().map_or_else(|errno| errno.clamp(1, 255), |_| 0));
        }
        Err(errno) => return Outcome::error(format!("fork failed with errno {errno}")),
    };
    match sys::wait(pid, PATIENCE) {
        Some(End::Exited(0)) => Ok("the step worked in a child".to_owned()).into(),
        Some(End::Exited(errno)) => Outcome::from(Reply::Err(errno)),
        Some(End::Killed(libc::SIGSYS)) => Outcome::blocked(0, "killed by the system call filter"),
        Some(End::Killed(signal)) => Outcome::error(format!("the child was killed by signal {signal}")),
        None => {
            let _already_gone = sys::kill(pid, libc::SIGKILL);
            Outcome::error("the child did not end in time")
        }
    }
}

/// A process that does nothing until it is dropped.
pub struct Idle {
    /// Its id.
    pub pid: i32,
}

impl Idle {
    /// Starts one.
    pub fn start() -> Result<Self, Errno> {
        match sys::fork()? {
            Fork::Parent(pid) => Ok(Idle { pid }),
            Fork::Child => {
                sys::die_with_parent();
                sys::pause_for(Duration::from_secs(60));
                sys::exit_now(0);
            }
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _already_gone = sys::kill(self.pid, libc::SIGKILL);
        sys::wait(self.pid, PATIENCE);
    }
}
