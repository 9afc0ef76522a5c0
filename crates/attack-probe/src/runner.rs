//! Runs an attempt in a child with a deadline: crash or hang, there is always a finding.

use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::attempt::{Attempt, Finding, Verdict};
use crate::situation::Situation;
use crate::sys::{self, End, Fork};

/// How long an attempt may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long a killed child may take to be gone.
const REAP: Duration = Duration::from_secs(1);

/// The longest report of a child: longer details are cut.
const REPORT_MAX: usize = 4096;

/// Runs one attempt. Whatever happens to the child, there is a finding.
pub fn run(attempt: &Attempt, situation: &Situation, deadline: Duration) -> Finding {
    let (reader, writer) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(error) => return Finding::error(format!("no pipe to the child: {error}")),
    };
    let pid = match sys::fork() {
        Ok(Fork::Parent(pid)) => pid,
        Ok(Fork::Child) => {
            drop(reader);
            be_the_child(attempt, situation, writer)
        }
        Err(errno) => return Finding::new(Verdict::Error, errno, "the probe could not fork"),
    };
    drop(writer);
    let report = read_report(reader, Instant::now() + deadline);
    let end = match &report {
        // It wrote or it closed the pipe: it ends now by itself.
        Report::Whole(_) | Report::Closed => sys::wait(pid, REAP),
        Report::TimedOut => None,
    };
    end_everything(pid, end);
    interpret(report, end)
}

fn be_the_child(attempt: &Attempt, situation: &Situation, mut writer: std::io::PipeWriter) -> ! {
    // A session of its own: the deadline kills it with all its children, and it has no terminal.
    let _refused_is_fine = sys::call!(libc::SYS_setsid);
    sys::die_with_parent();
    let finding = catch_unwind(AssertUnwindSafe(|| attempt.judge((attempt.run)(situation))));
    let sent = finding.map(|finding| writer.write_all(&encode(&finding)));
    sys::exit_now(if matches!(sent, Ok(Ok(()))) { 0 } else { 101 })
}

/// Kills what is left of the attempt: its session's process group, and it.
fn end_everything(pid: i32, end: Option<End>) {
    let _nobody_left = sys::kill(-pid, libc::SIGKILL);
    if end.is_none() {
        let _already_gone = sys::kill(pid, libc::SIGKILL);
        sys::wait(pid, REAP);
    }
}

enum Report {
    Whole(Finding),
    Closed,
    TimedOut,
}

fn read_report(mut reader: PipeReader, deadline: Instant) -> Report {
    let mut bytes = Vec::new();
    let mut block = [0; 1024];
    loop {
        if let Some(finding) = decode(&bytes) {
            return Report::Whole(finding);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Report::TimedOut;
        }
        if !sys::wait_readable(reader.as_raw_fd(), left) {
            continue;
        }
        match reader.read(&mut block) {
            Ok(count @ 1..) => bytes.extend_from_slice(&block[..count]),
            Ok(0) | Err(_) => return Report::Closed,
        }
    }
}

fn interpret(report: Report, end: Option<End>) -> Finding {
    match (report, end) {
        (Report::Whole(finding), _) => finding,
        (Report::TimedOut, _) => Finding::error("hang: the attempt did not end before its deadline"),
        (Report::Closed, Some(End::Killed(libc::SIGSYS))) => {
            Finding::new(Verdict::Blocked, 0, "killed by the system call filter (SIGSYS)")
        }
        (Report::Closed, Some(End::Killed(signal))) => {
            Finding::error(format!("crash: the attempt was killed by signal {signal}"))
        }
        (Report::Closed, Some(End::Exited(code))) => {
            Finding::error(format!("crash: the attempt ended with code {code} and no report"))
        }
        (Report::Closed, None) => Finding::error("the attempt closed its report and did not end"),
    }
}

/// One byte of verdict, four of errno, the detail, and a NUL that says that the report is whole.
fn encode(finding: &Finding) -> Vec<u8> {
    let verdict = match finding.verdict {
        Verdict::Blocked => b'B',
        Verdict::Open => b'O',
        Verdict::Error => b'E',
    };
    let mut bytes = vec![verdict];
    bytes.extend(finding.errno.to_ne_bytes());
    bytes.extend(finding.detail.bytes().filter(|byte| *byte != 0).take(REPORT_MAX));
    bytes.push(0);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Finding> {
    let (verdict, rest) = bytes.split_first()?;
    let (errno, rest) = rest.split_first_chunk::<4>()?;
    let detail = rest.strip_suffix(&[0])?;
    let verdict = match verdict {
        b'B' => Verdict::Blocked,
        b'O' => Verdict::Open,
        _ => Verdict::Error,
    };
    Some(Finding::new(verdict, i32::from_ne_bytes(*errno), String::from_utf8_lossy(detail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Control, Outcome};

    fn finding_of(attempt: fn(&Situation) -> Outcome) -> Finding {
        let attempt = Attempt::new("a", Control::Host, "b", attempt);
        run(&attempt, &Situation::default(), Duration::from_secs(2))
    }

    fn die_by(signal: i32) -> Outcome {
        let _it_kills_us = sys::kill(sys::own_pid(), signal);
        Outcome::open("still alive")
    }

    #[test]
    fn a_finding_comes_back_whole() {
        let expected = Finding::new(Verdict::Blocked, libc::EPERM, "no \"quotes\" lost\n");
        assert_eq!(finding_of(|_| Outcome::blocked(libc::EPERM, "no \"quotes\" lost\n")), expected);
        assert_eq!(finding_of(|_| Outcome::open("x".repeat(100_000))).detail.len(), REPORT_MAX);
    }

    #[test]
    fn a_kill_by_the_filter_is_blocked() {
        assert_eq!(finding_of(|_| die_by(libc::SIGSYS)).verdict, Verdict::Blocked);
    }

    #[test]
    fn every_other_crash_is_an_error() {
        assert_eq!(finding_of(|_| die_by(libc::SIGKILL)).verdict, Verdict::Error);
        assert_eq!(finding_of(|_| sys::exit_now(0)).verdict, Verdict::Error);
        assert_eq!(finding_of(|_| panic!("on purpose")).verdict, Verdict::Error);
    }

    #[test]
    fn a_hang_is_an_error_and_its_children_are_killed() {
        let finding = finding_of(|_| {
            let _victim = crate::child::Idle::start();
            sys::pause_for(Duration::from_secs(60));
            Outcome::open("slept well")
        });
        assert_eq!(finding.verdict, Verdict::Error);
        assert!(finding.detail.starts_with("hang"), "{}", finding.detail);
    }
}
