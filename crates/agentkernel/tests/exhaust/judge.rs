//! Whether an attack ended as it must.

use agentkernel_core::{CauseOfDeath, ExitStatus, Result, Stopped};

use crate::attacks::{Attack, EAGAIN, End};
use crate::victim::Told;

/// What the stream's windows, the pipe and the host's side may hold of an input that nobody reads.
const SWALLOWED_MAX: u64 = 16 << 20;

/// All that is wrong with the end of an attack and of its sandbox.
pub fn judge(
    attack: &Attack,
    told: &Told,
    after: std::result::Result<Option<CauseOfDeath>, String>,
    stopped: Result<Stopped>,
    pending: u64,
) -> Vec<String> {
    let mut complaints = Vec::new();
    let stopped = match stopped {
        Ok(stopped) => stopped,
        Err(error) => return vec![error.to_string()],
    };
    if !has_ended(attack, told, stopped, pending) {
        complaints.push(format!("it ended otherwise: {told:?}, {stopped:?}"));
    }
    match after {
        // It answers.
        Ok(None) => {}
        Ok(Some(CauseOfDeath::OutOfMemory)) if stopped.out_of_memory_kills > 0 => {}
        Ok(Some(cause)) => complaints.push(format!("its sandbox is gone, and the cause told is {cause}")),
        Err(why) => complaints.push(why),
    }
    if told.swallowed > SWALLOWED_MAX {
        complaints.push(format!("{} bytes were taken of an input that nobody reads", told.swallowed));
    }
    complaints
}

fn has_ended(attack: &Attack, told: &Told, stopped: Stopped, pending: u64) -> bool {
    let killed = told.exited.is_none_or(|exited| exited.status == ExitStatus::Signal(9));
    let refused = |errno: i32, count_max: u64| is_refused(told, errno, count_max);
    let out_of_memory = killed && stopped.out_of_memory_kills > 0;
    match attack.end {
        End::Refused { errno, count_max } => refused(errno, count_max),
        End::Pending => refused(EAGAIN, pending) || out_of_memory,
        End::OutOfMemory => out_of_memory,
        End::ByItself { count_max } => refused(0, count_max),
        End::Killed => killed,
    }
}

/// Whether it ended with this errno, and had no more than that.
pub fn is_refused(told: &Told, errno: i32, count_max: u64) -> bool {
    told.number("errno") == u64::try_from(errno).ok()
        && told.number("count").is_some_and(|count| count <= count_max)
}

/// Whether nothing stopped it, beyond what it may have elsewhere.
pub fn went_on(attack: &Attack, told: &Told) -> bool {
    let more_than = |count_max: u64| told.number("count").is_some_and(|count| count > count_max);
    let beyond = match attack.end {
        End::Refused { count_max, .. } | End::ByItself { count_max } => more_than(count_max),
        End::Pending | End::OutOfMemory | End::Killed => true,
    };
    told.number("errno") == Some(0) && beyond
}

/// How many signals may wait for this process and its user.
pub fn pending_signals(pid: i32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max pending signals")).expect("listed");
    line.split_whitespace().nth(1).and_then(|hard| hard.parse().ok()).unwrap_or(u64::MAX)
}
