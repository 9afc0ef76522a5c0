//! What a command of a test has said and how it ended.

use std::io::{ErrorKind, Read};
use std::process::{Child, Command, ExitStatus};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// No command of a test takes longer; whatever does has hung.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// What was run, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote to stdout.
    pub stdout: Vec<u8>,
    /// All that it wrote to stderr.
    pub stderr: Vec<u8>,
}

fn pause() {
    let time = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    // An interrupted pause is only shorter.
    poll(&mut [], Some(&time)).ok();
}

/// Starts it. A program that was copied a moment ago may still be open for writing in a child that another test is just
/// forking: it closes it when it executes its own.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    for _attempt in 0..100 {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => pause(),
            other => return other,
        }
    }
    command.spawn()
}

impl Finished {
    /// Runs a command whose stdout and stderr are pipes to its end.
    ///
    /// # Panics
    /// If it cannot be started, or has not ended after two minutes; it is killed then.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let words = format!("{command:?}");
        let child = spawn(command).unwrap_or_else(|error| panic!("start {words}: {error}"));
        Self::wait(words, child, DEADLINE)
    }

    /// Waits for a child, which is killed if it has not ended after `deadline`.
    ///
    /// # Panics
    /// If it had to be killed.
    #[must_use]
    pub fn wait(command: String, mut child: Child, deadline: Duration) -> Self {
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let in_time = ends_within(&child, deadline);
        if !in_time {
            drop(child.kill());
        }
        let status = child.wait().expect("wait for the command");
        assert!(in_time, "{command} has not ended after {deadline:?}");
        // Not joined after a kill: something it left behind may hold its output open for ever.
        Self { command, status, stdout: joined(stdout), stderr: joined(stderr) }
    }

    /// Stdout as text.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stderr as text.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// # Panics
    /// If it did not end with exit code 0.
    #[track_caller]
    pub fn assert_success(self) -> Self {
        self.assert_code(0)
    }

    /// # Panics
    /// If it did not end with this exit code.
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert!(
            self.status.code() == Some(code),
            "{} ended with {}, not with code {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            self.stdout_text(),
            self.stderr_text(),
        );
        self
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is worth showing; the exit status says the rest.
        drop(stream.read_to_end(&mut bytes));
        bytes
    })
}

fn joined(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    stream.map(|thread| thread.join().expect("the reader does not panic")).unwrap_or_default()
}

fn ends_within(child: &Child, deadline: Duration) -> bool {
    let end = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("watch the command");
    let deadline = Timespec::try_from(deadline).expect("a deadline of this century");
    let ready = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&deadline));
    ready.expect("wait for the command") > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestEnvironment;

    #[test]
    fn output_and_exit_code_are_told() {
        let environment = TestEnvironment::new();
        let finished = environment.run("/bin/sh", &["-c", "echo out; echo err >&2; exit 7"]).assert_code(7);
        assert_eq!((finished.stdout_text(), finished.stderr_text()), ("out\n".into(), "err\n".into()));
    }

    #[test]
    #[should_panic(expected = "has not ended after")]
    fn a_command_that_hangs_is_killed_and_told() {
        let environment = TestEnvironment::new();
        let child = environment.command("/bin/sleep").arg("1000").spawn().unwrap();
        let _never = Finished::wait("sleep 1000".into(), child, Duration::from_millis(20));
    }
}
