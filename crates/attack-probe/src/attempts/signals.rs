//! Signals to processes that are not the probe's.

use std::time::{Duration, Instant};

use crate::attempt::{Attempt, Control, Errno, Outcome, answer};
use crate::attempts::neighbours::pid_1_is_the_probe;
use crate::processes;
use crate::situation::Situation;
use crate::sys;

/// There is no such process.
const NOBODY: &[Errno] = &[libc::ESRCH];

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "kill-all",
        Control::Namespaces,
        "reach, with kill(-1, 0), a process that is not of the own tree",
        kill_all,
    ),
    Attempt::new(
        "kill-host-pid",
        Control::Namespaces,
        "signal 0 to a process of the host by its id",
        |situation| {
            if situation.host_pids.is_empty() {
                return Outcome::error("needs --host-pid");
            }
            let try_one = |pid: &i32| (format!("process {pid}"), answer(sys::kill(*pid, 0)));
            Outcome::Answers(situation.host_pids.iter().map(try_one).collect())
        },
    )
    .refused(NOBODY),
    Attempt::new(
        "process-group-outside",
        Control::Namespaces,
        "share a process group or session with a process outside, whom kill(0) would reach",
        group_outside,
    ),
    Attempt::new("stop-pid1", Control::Sandbox, "stop PID 1", |situation| {
        pid_1_is_the_probe(situation).unwrap_or_else(|| strike_pid_1(libc::SIGSTOP))
    }),
    Attempt::new("kill-pid1", Control::Sandbox, "kill PID 1", |situation| {
        pid_1_is_the_probe(situation).unwrap_or_else(|| strike_pid_1(libc::SIGKILL))
    }),
];

fn kill_all(situation: &Situation) -> Outcome {
    let foreign = match processes::foreign(situation) {
        Ok(foreign) => foreign,
        Err(errno) => return Outcome::error(format!("/proc cannot be listed: errno {errno}")),
    };
    let reply = sys::kill(-1, 0);
    let reached: Vec<String> =
        foreign.iter().filter(|one| sys::kill(one.pid, 0).is_ok()).map(|one| one.pid.to_string()).collect();
    match reply {
        _ if !reached.is_empty() => Outcome::open(format!("reached {}", reached.join(", "))),
        Ok(_) => Outcome::blocked(0, "only the own tree is reached"),
        Err(errno @ (libc::EPERM | libc::ESRCH)) => Outcome::blocked(errno, "nobody is reached"),
        Err(errno) => Outcome::error(format!("kill(-1, 0) failed with errno {errno}")),
    }
}

/// A leader in an outer pid namespace has no number here: the kernel says 0.
fn group_outside(situation: &Situation) -> Outcome {
    let shown = format!("group {}, session {}", situation.process_group, situation.session);
    match (situation.process_group, situation.session) {
        (0, _) | (_, 0) => Outcome::open(shown),
        (1.., 1..) => Outcome::blocked(0, shown),
        _ => Outcome::error(shown),
    }
}

/// How long PID 1 may take to show that it was hit.
const EFFECT: Duration = Duration::from_millis(500);

fn strike_pid_1(signal: i32) -> Outcome {
    strike(1, signal)
}

/// Sends the signal for real, and looks whether the process shows an effect.
fn strike(pid: i32, signal: i32) -> Outcome {
    let before = processes::of_pid(pid);
    if let Err(errno) = sys::kill(pid, signal) {
        return sys::Reply::Err(errno).into();
    }
    let Some(before) = before else {
        // With the first process this one would be gone; whether it was stopped, whoever waits for an answer knows.
        sys::pause_for(EFFECT);
        return Outcome::blocked(0, format!("the signal was taken by a process {pid} that cannot be seen"));
    };
    let deadline = Instant::now() + EFFECT;
    while Instant::now() < deadline {
        match processes::of_pid(pid) {
            None => return Outcome::open(format!("process {pid} is gone")),
            Some(now) if matches!(now.state, 'T' | 't' | 'Z' | 'X') => {
                let _runs_again = sys::kill(pid, libc::SIGCONT);
                return Outcome::open(format!("from state {} to {}", before.state, now.state));
            }
            Some(_) => sys::pause_for(Duration::from_millis(10)),
        }
    }
    Outcome::blocked(0, format!("the signal was taken, and process {pid} lives as before"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Finding, Verdict};
    use crate::child::Idle;

    fn verdict_on_a_child(signal: i32) -> Verdict {
        let victim = Idle::start().expect("a child");
        match strike(victim.pid, signal) {
            Outcome::Known(Finding { verdict, .. }) => verdict,
            Outcome::Answers(answers) => panic!("{answers:?}"),
        }
    }

    // PID 1 is protected from its own namespace by the kernel, so that these are the only controls.
    #[test]
    fn a_process_that_is_hit_is_open_and_one_that_does_not_care_is_blocked() {
        assert_eq!(verdict_on_a_child(libc::SIGKILL), Verdict::Open);
        assert_eq!(verdict_on_a_child(libc::SIGSTOP), Verdict::Open);
        assert_eq!(verdict_on_a_child(libc::SIGURG), Verdict::Blocked);
    }
}
