//! The emulated host of `scripts/kvm-lab`, for tests of what needs a KVM that works.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::environment::Finished;
use crate::require::say;

/// How often it is begun, if it stands still.
const ATTEMPTS: u32 = 3;

/// How often it is begun, if something fails in it.
const ATTEMPTS_FAILED: u32 = 2;

/// What `scripts/lab` says of a program whose time was up.
const TIME_WAS_UP: i32 = 124;

/// Runs a program there, with these words of `scripts/lab` before it, and gives what came of it. The emulator was seen to lose
/// the timer of its processor while that runs nested machines, once in some ten runs: its kernel stands still then, until
/// the time is up. And once in some ten runs one nested machine of twenty-five did not come up, or lost what it had said, each time
/// another one. It is begun anew, and what failed is said: what fails in every run is a failure.
#[must_use]
pub fn in_kvm_lab(time: Duration, flags: &[&str], words: &[&str]) -> Finished {
    let mut attempt = 1;
    loop {
        let finished = once(time, flags, words);
        if !is_begun_anew(attempt, &finished, words) {
            return finished;
        }
        attempt += 1;
    }
}

/// Whether it is, after so many attempts; that is said.
fn is_begun_anew(attempt: u32, finished: &Finished, words: &[&str]) -> bool {
    let most = if finished.status.code() == Some(TIME_WAS_UP) { ATTEMPTS } else { ATTEMPTS_FAILED };
    if finished.status.success() || attempt >= most {
        return false;
    }
    let said = finished.stdout_text() + &finished.stderr_text();
    say(&format!("AGAIN: attempt {attempt} in an emulated host, {:?}: {words:?}: {said}", finished.status));
    true
}

/// Runs tests of a test program there, those of these names, or all that it has and does not ignore: so many. As with
/// [`in_kvm_lab`]; but if some have failed, they alone are begun anew.
///
/// # Panics
/// If one does, or if it is never heard how all of them ended.
pub fn tests_hold_in_kvm_lab(
    time: Duration,
    flags: &[&str],
    program: &[&str],
    names: &[&str],
    number: usize,
) {
    let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let (mut number, mut attempt) = (number, 1);
    loop {
        let exact = (!names.is_empty()).then_some("--exact");
        let words: Vec<&str> =
            program.iter().copied().chain(exact).chain(names.iter().map(String::as_str)).collect();
        let finished = once(time, flags, &words);
        let text = finished.stdout_text();
        let failed: Vec<String> = failed(&text).map(str::to_owned).collect();
        let is_told = are_all(&text, number, failed.len());
        if !is_begun_anew(attempt, &finished, &words) {
            let is_ok = is_told && failed.is_empty();
            assert!(is_ok, "{words:?}: {:?}: {text}{}", finished.status, finished.stderr_text());
            return;
        }
        if is_told && !failed.is_empty() {
            (number, names) = (failed.len(), failed);
        }
        attempt += 1;
    }
}

/// The tests that failed, as a test program tells it.
fn failed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
}

/// Whether it told of so many tests, of which so many failed.
fn are_all(text: &str, number: usize, failed: usize) -> bool {
    let counts = number.checked_sub(failed).map(|passed| format!(" {passed} passed; {failed} failed; "));
    counts.is_some_and(|counts| text.lines().any(|line| line.contains(&counts)))
}

#[expect(clippy::disallowed_methods, reason = "tests start programs")]
fn once(time: Duration, flags: &[&str], words: &[&str]) -> Finished {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kvm-lab");
    let mut command = Command::new(lab);
    command.arg("--timeout").arg(time.as_secs().to_string()).args(flags).arg("--").args(words);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("scripts/kvm-lab can be started");
    // It ends itself; this is for one that does not.
    Finished::wait(format!("kvm-lab {words:?}"), child, time + Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_known_by_its_name_and_an_end_that_was_not_told_is_none() {
        let text =
            "test a::b ... ok\ntest c::d ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 2 ignored;";
        assert_eq!(failed(text).collect::<Vec<_>>(), ["c::d"]);
        assert!(are_all(text, 2, 1) && !are_all(text, 3, 1) && !are_all(text, 2, 0) && !are_all(text, 0, 1));
        assert!(!are_all("test a::b ... ok\ntest c::d ... FAILED\n", 2, 1));
    }
}
