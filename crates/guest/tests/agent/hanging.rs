//! A start that hangs between the fork and its program: it delays itself, and nobody else.

use std::fs::{Permissions, set_permissions, write};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use agentkernel_protocol::{Start, Status, ToGuest, ToHost};
use tempfile::{TempDir, tempdir};

use crate::client::{Guest, until};
use crate::launch::command;
use crate::porter::running;
use crate::request::words;
use crate::stop::state;

/// Holds a lease on a file, by which the kernel makes whoever executes it wait: fcntl(2), F_SETLEASE. What the holder is
/// sent then it does not hear.
const LEASE: &str = "
import fcntl, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
time.sleep(30)
";

/// A program that nobody can execute as long as this lives. The kernel's own patience is 45 s.
pub struct Hanging {
    folder: TempDir,
    holder: Child,
}

impl Hanging {
    /// Nothing after a loud skip.
    pub fn new() -> Option<Self> {
        let folder = tempdir().expect("a folder");
        let path = folder.path().join("program");
        write(&path, "#!/bin/sh\necho ran\n").expect("written");
        set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
        let mut holder = command("python3".as_ref());
        holder.args(["-c", LEASE]).arg(&path).stdout(Stdio::piped());
        let Ok(mut holder) = holder.spawn() else {
            assert!(option_env!("CI").is_none(), "python3 must be there where everything is tested");
            eprintln!("SKIPPED: there is no python3 to hold a lease");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it says so");
        assert_eq!(line, "held\n");
        Some(Self { folder, holder })
    }

    /// From now on it can be executed.
    fn let_go(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }

    pub fn start(&self) -> Start {
        words(&[self.folder.path().join("program").to_str().expect("text")])
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The agent still does everything: it answers, starts others, and reports their ends.
fn is_served(guest: &mut Guest) {
    guest.send(0, &ToGuest::Ping(7));
    assert!(matches!(guest.next(), Some((0, ToHost::Pong(7)))));
    for _ in 0..3 {
        assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
    }
}

#[test]
fn a_start_that_hangs_delays_nobody_else_and_goes_on_when_it_can() {
    let Some(mut hanging) = Hanging::new() else { return };
    let mut guest = Guest::ready();
    let channel = guest.open(hanging.start());
    is_served(&mut guest);
    assert!(guest.early_of(channel).is_empty(), "it did not hang");
    hanging.let_go();
    assert!(matches!(guest.next_of(channel), ToHost::Started(_)));
    guest.await_text(channel, "ran");
    assert_eq!(guest.exited(channel).status, Status::Code(0));
}

#[test]
fn a_start_that_hangs_is_killed_in_time() {
    let Some(hanging) = Hanging::new() else { return };
    let mut guest = Guest::ready();
    let channel = guest.open(Start { timeout_ms: Some(200), ..hanging.start() });
    is_served(&mut guest);
    assert!(matches!(guest.next_of(channel), ToHost::Started(_)), "what it was is not known");
    assert!(guest.exited(channel).timed_out);
    is_served(&mut guest);
}

#[test]
fn a_start_that_hangs_is_lost_with_its_host() {
    let Some(hanging) = Hanging::new() else { return };
    let (mut guest, porter) = Guest::with_door();
    let (channel, kept) = guest.started(words(&["sleep", "1000"]));
    guest.open(hanging.start());
    is_served(&mut guest);
    let children = crate::stop::children_of(guest.pid());
    let lost: Vec<u32> = children.into_iter().filter(|pid| *pid != kept).collect();
    assert_eq!(lost.len(), 1);
    let survivors = guest.change_host(&porter).into_iter();
    let living: Vec<_> = survivors.filter(|survivor| survivor.ended.is_none()).collect();
    assert_eq!(living, [running(channel, kept, 0)]);
    until("it was waited for", || state(lost[0]).is_none());
    is_served(&mut guest);
}
