//! Ends that somebody else decides: signals, timeouts, the end of the stream.

use std::fs::{read_dir, read_to_string};

use agentkernel_protocol::{Start, Status, ToGuest, ToHost};

use crate::client::{Guest, until};
use crate::request::{shell, words};

/// A script whose descendants flee: into another session, away from their parents, out of reach of a
/// signal that can be caught. Prints their five PIDs.
const TREE: &str = "
    trap '' TERM HUP
    sleep 1000 & echo $!
    setsid sh -c 'echo $$; sleep 1000 & echo $!; wait' &
    (setsid sh -c '(sleep 1000 & echo $!) & echo $$; exec sleep 1000' &)
    wait";

fn pids(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn pids_of_tree(guest: &mut Guest, channel: u32) -> Vec<u32> {
    let mut text = String::new();
    while text.lines().count() < 5 {
        text += &guest.await_text(channel, "\n");
    }
    pids(&text)
}

/// State of a process, if there is one: `Z` for one that nobody has waited for.
pub fn state(pid: u32) -> Option<char> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

pub fn until_gone(pids: &[u32]) {
    until("nothing of the tree is left", || pids.iter().all(|pid| matches!(state(*pid), None | Some('Z'))));
}

pub fn children_of(parent: u32) -> Vec<u32> {
    let pids = read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.nth(1) == Some(&parent.to_string())
    })
    .collect()
}

#[test]
fn a_timeout_kills_the_whole_tree_and_says_so() {
    let mut guest = Guest::ready();
    let (channel, pid) = guest.started(Start { timeout_ms: Some(3000), ..shell(TREE) });
    let pids = pids_of_tree(&mut guest, channel);
    let exited = guest.exited(channel);
    assert_eq!((exited.status, exited.timed_out), (Status::Signal(9), true));
    assert!(exited.usage.wall_ns >= 3_000_000_000, "{exited:?}");
    until_gone(&pids);
    until("nobody is left unwaited", || children_of(guest.pid()).is_empty());
    assert_eq!(state(pid), None);
}

#[test]
fn who_ends_in_time_has_not_timed_out() {
    let mut guest = Guest::ready();
    let outcome = guest.run(Start { timeout_ms: Some(60_000), ..shell("exit 4") });
    let exited = outcome.exited.expect("it ended");
    assert_eq!((exited.status, exited.timed_out), (Status::Code(4), false));
    // Killed, but not by the timeout.
    let (channel, _) = guest.started(Start { timeout_ms: Some(60_000), ..words(&["sleep", "1000"]) });
    guest.signal(channel, 9, false);
    let exited = guest.exited(channel);
    assert_eq!((exited.status, exited.timed_out), (Status::Signal(9), false));
}

#[test]
fn a_timeout_needs_nobody_who_listens_or_yields() {
    let mut guest = Guest::ready();
    let script = "trap '' TERM INT; yes & while :; do :; done";
    let limit = Start { timeout_ms: Some(300), output_window: 0, ..shell(script) };
    let (channel, pid) = guest.started(limit);
    until("it is gone", || state(pid).is_none());
    guest.credit(channel, agentkernel_protocol::Stream::Stdout, 1 << 30);
    assert!(guest.exited(channel).timed_out);
    let (channel, _) = guest.started(Start { timeout_ms: Some(0), ..words(&["sleep", "1000"]) });
    assert!(guest.exited(channel).timed_out, "no time at all is a time limit as well");
}

#[test]
fn a_signal_reaches_the_process_or_its_whole_group() {
    let mut guest = Guest::ready();
    let script = "sleep 1000 & echo $!; echo ready; wait";
    let (channel, _) = guest.started(shell(script));
    let alone = pids(&guest.await_text(channel, "ready"));
    guest.signal(channel, 15, false);
    assert_eq!(guest.exited(channel).status, Status::Signal(15));
    assert!(!matches!(state(alone[0]), None | Some('Z')), "the child was not meant");
    let (channel, _) = guest.started(shell(script));
    let group = pids(&guest.await_text(channel, "ready"));
    guest.signal(channel, 15, true);
    assert_eq!(guest.exited(channel).status, Status::Signal(15));
    until_gone(&group);
    let (channel, _) =
        guest.started(shell("trap 'echo caught; exit 3' USR1; echo ready; while :; do :; done"));
    guest.await_text(channel, "ready");
    guest.signal(channel, 10, false);
    guest.await_text(channel, "caught");
    assert_eq!(guest.exited(channel).status, Status::Code(3));
}

#[test]
fn orphans_are_waited_for() {
    let mut guest = Guest::ready();
    for _ in 0..20 {
        let outcome = guest.run(shell("(sh -c 'exit 1' &); (setsid sh -c 'sleep 0.05' &); exit 0"));
        assert_eq!(outcome.status(), Status::Code(0));
    }
    until("all orphans are waited for", || children_of(guest.pid()).is_empty());
}

#[test]
fn the_end_of_the_stream_kills_everything() {
    let mut guest = Guest::ready();
    let (channel, pid) = guest.started(shell(TREE));
    let mut pids = pids_of_tree(&mut guest, channel);
    pids.push(pid);
    assert_eq!(guest.close().code(), Some(0));
    until_gone(&pids);
}

#[test]
fn half_an_end_is_an_end() {
    let mut guest = Guest::ready();
    let (_, pid) = guest.started(words(&["sleep", "1000"]));
    guest.hush();
    assert_eq!(guest.end().code(), Some(0));
    assert_eq!(state(pid), None, "killed, and waited for");
}

#[test]
fn a_shutdown_kills_everything() {
    let mut guest = Guest::ready();
    let (channel, pid) = guest.started(shell(TREE));
    let mut pids = pids_of_tree(&mut guest, channel);
    pids.push(pid);
    guest.send(0, &ToGuest::Shutdown);
    assert_eq!(guest.end().code(), Some(0));
    until_gone(&pids);
}

#[test]
fn a_stopped_process_does_not_stop_the_agent() {
    let mut guest = Guest::ready();
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    guest.signal(channel, 19, false);
    until("it is stopped", || state(pid) == Some('T'));
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
    guest.signal(channel, 9, false);
    assert_eq!(guest.exited(channel).status, Status::Signal(9));
}

#[test]
fn a_kill_that_comes_before_the_program_is_obeyed() {
    let mut guest = Guest::ready();
    for _ in 0..50 {
        let channel = guest.open(words(&["sleep", "1000"]));
        guest.signal(channel, 15, true);
        assert!(matches!(guest.next_of(channel), ToHost::Started(_)));
        assert_eq!(guest.exited(channel).status, Status::Signal(15));
    }
}
