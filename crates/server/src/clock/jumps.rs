//! Jumps of the wall clock, which end no sandbox, and let none live on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use agentkernel_api::{CauseOfDeath, SandboxRequest, State};
use tokio::time::timeout;

use crate::daemon::Daemon;
use crate::guest::Guest;
use crate::make::{Order, make};

/// How far somebody has set the wall clock of this program, in milliseconds.
static JUMP_MS: AtomicI64 = AtomicI64::new(0);

/// A decade.
const FAR_MS: i64 = 10 * 365 * 24 * 3600 * 1000;

/// What the wall clock reads after the jump.
pub fn jumped(wall_ms: u64) -> u64 {
    wall_ms.saturating_add_signed(JUMP_MS.load(Ordering::Relaxed))
}

/// A sandbox with these times.
async fn sandbox(daemon: &Arc<Daemon>, timeout_ms: Option<u64>, idle_timeout_ms: Option<u64>) -> Guest {
    let request = SandboxRequest { timeout_ms, idle_timeout_ms, ..SandboxRequest::default() };
    let order = Order { owner: "somebody".into(), request, run: false, id: None, from: None };
    let (guest, guard) = make(daemon, order).await.expect("made");
    guard.put_off();
    guest
}

/// Waits for its end, and says why it came.
async fn cause(guest: &Guest) -> Option<CauseOfDeath> {
    let mut view = guest.view.clone();
    let ended = view.wait_for(|sandbox| sandbox.state == State::Ended);
    timeout(Duration::from_secs(20), ended).await.expect("it ends in time").expect("it is told").cause
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_wall_clock_ends_no_sandbox_and_lets_none_live_on() {
    let folder = tempfile::tempdir().expect("temp dir");
    let daemon = Daemon::on_fakes(folder.path());
    let long = sandbox(&daemon, Some(3_600_000), Some(3_600_000)).await;
    let displayed = super::wall_ms();
    JUMP_MS.store(FAR_MS, Ordering::Relaxed);
    assert!(super::wall_ms() > displayed + FAR_MS.unsigned_abs() / 2, "the clock has not jumped");
    // Used and looked at after the jump, so that whatever looks at a clock does.
    drop(long.enter().expect("it lives"));
    let (by_time, by_idleness) =
        (sandbox(&daemon, Some(500), None).await, sandbox(&daemon, None, Some(500)).await);
    JUMP_MS.store(-FAR_MS, Ordering::Relaxed);
    drop(by_idleness.enter().expect("it lives"));
    assert_eq!(cause(&by_time).await, Some(CauseOfDeath::Timeout));
    assert_eq!(cause(&by_idleness).await, Some(CauseOfDeath::Idle));
    JUMP_MS.store(FAR_MS, Ordering::Relaxed);
    drop(long.enter().expect("it lives"));
    assert_eq!(long.fate.verdict(), None);
    JUMP_MS.store(0, Ordering::Relaxed);
    long.fate.decide(CauseOfDeath::Killed, "the test is over");
    assert_eq!(cause(&long).await, Some(CauseOfDeath::Killed));
}

/// The jump above reaches whoever asks this crate for the wall clock; nobody may ask anybody else.
#[test]
fn the_wall_clock_is_read_in_one_place() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("text");
                let words = ["SystemTime::now", "UNIX_EPOCH.elapsed", "ClockId::Realtime", "Utc::now"];
                // This list itself is in quotes.
                let reads =
                    |word: &&str| text.matches(*word).count() > text.matches(&format!("\"{word}\"")).count();
                found.extend(words.iter().filter(|word| reads(word)).map(|word| (path.clone(), *word)));
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.ends_with("src/clock.rs"), "{found:?}");
}
