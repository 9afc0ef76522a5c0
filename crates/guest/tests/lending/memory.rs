//! Whether memory is lent at all: without this, all that is tested here would be tested of a copy.

use std::fs::read_to_string;

use agentkernel_protocol::{STDIN_WINDOW, Status, ToGuest, ToHost};

use crate::client::{Guest, until};
use crate::hanging::Hanging;
use crate::request::words;
use crate::stop::children_of;

/// Bytes in one message, far below the most that fit.
const CHUNK_LEN: usize = 32 * 1024;

/// Pages that a process has mapped, by the first field of its `statm`.
fn pages(pid: u32) -> u64 {
    let statm = read_to_string(format!("/proc/{pid}/statm")).expect("it lives");
    statm.split(' ').next().expect("a field").parse().expect("a number")
}

#[test]
fn a_start_that_hangs_has_the_memory_of_the_agent() {
    let Some(hanging) = Hanging::new() else { return };
    let mut guest = Guest::ready();
    let (channel, sleeper) = guest.started(words(&["sleep", "1000"]));
    guest.open(hanging.start());
    until("it has begun", || children_of(guest.pid()).len() == 2);
    let child = children_of(guest.pid()).into_iter().find(|pid| *pid != sleeper).expect("a child");
    let before = pages(guest.pid());
    // What nobody reads the agent keeps, and grows.
    for _ in 0..STDIN_WINDOW as usize / CHUNK_LEN {
        guest.send(channel, &ToGuest::Stdin(vec![b'x'; CHUNK_LEN].into()));
    }
    until("the agent grows", || pages(guest.pid()) > before);
    until("its child grows with it", || pages(child) == pages(guest.pid()));
}

#[test]
fn what_was_lent_comes_back() {
    let mut guest = Guest::ready();
    let all_ways = |guest: &mut Guest| {
        for _ in 0..100 {
            assert_eq!(guest.run(words(&["true"])).status(), Status::Code(0));
            guest.refused(words(&["no-such-program"]));
            let channel = guest.open(words(&["sleep", "1000"]));
            guest.signal(channel, 9, false);
            while !matches!(guest.next_of(channel), ToHost::Exited(_)) {}
        }
    };
    all_ways(&mut guest);
    let before = pages(guest.pid());
    all_ways(&mut guest);
    // A stack that was kept for each would be eight pages.
    assert!(pages(guest.pid()) <= before + 256, "{} and then {} pages", before, pages(guest.pid()));
}
