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
        let most = if finished.status.code() == Some(TIME_WAS_UP) { ATTEMPTS } else { ATTEMPTS_FAILED };
        if finished.status.success() || attempt >= most {
            return finished;
        }
        let said = finished.stdout_text() + &finished.stderr_text();
        say(&format!(
            "AGAIN: attempt {attempt} in an emulated host, {:?}: {words:?}: {said}",
            finished.status
        ));
        attempt += 1;
    }
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
