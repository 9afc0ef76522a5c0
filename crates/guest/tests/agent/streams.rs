//! What goes in and out of a process, byte for byte, within its windows.

use std::path::Path;

use agentkernel_protocol::{Exec, STDIN_WINDOW, Start, Status, StdinMode, Stream, ToGuest, ToHost};
use bytes::Bytes;

use crate::client::{Guest, until};
use crate::request::{exec, program_of, shell, words};

/// Bytes that no pattern would produce by accident.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn stdout_and_stderr_are_separate_and_exact() {
    let bytes = noise(1024 * 1024 + 7);
    let outcome = Guest::ready().run_with(words(&["tee", "/dev/stderr"]), &bytes).expect("it starts");
    assert!(outcome.stdout == bytes && outcome.stderr == bytes);
}

#[test]
fn ten_mebibytes_come_back_from_cat() {
    let bytes = noise(10 * 1024 * 1024);
    let outcome = Guest::ready().run_with(words(&["cat"]), &bytes).expect("it starts");
    assert!(outcome.stdout == bytes, "{} bytes came back", outcome.stdout.len());
}

#[test]
fn who_closes_stdin_is_no_trouble() {
    let bytes = noise(10 * 1024 * 1024);
    let mut guest = Guest::ready();
    for script in ["exec <&-; echo closed", "head -c 5 >/dev/null; echo closed", "echo closed"] {
        let outcome = guest.run_with(shell(script), &bytes).expect("it starts");
        assert_eq!((outcome.text().as_str(), outcome.status()), ("closed\n", Status::Code(0)));
    }
    let (channel, _) = guest.started(shell("exec <&-; echo closed; exec sleep 1000"));
    guest.await_text(channel, "closed");
    let mut credit = 0;
    for _ in 0..10 {
        guest.send(channel, &ToGuest::Stdin(Bytes::from(vec![0; 200_000])));
        while credit < 200_000 {
            match guest.next_of(channel) {
                ToHost::StdinCredit(bytes) => credit += bytes,
                other => panic!("{other:?} instead of credit"),
            }
        }
        credit -= 200_000;
    }
    guest.send(channel, &ToGuest::StdinEnd);
    guest.signal(channel, 15, false);
    assert_eq!(guest.exited(channel).status, Status::Signal(15));
}

#[test]
fn stdin_that_nobody_reads_waits_within_its_window() {
    let mut guest = Guest::ready();
    let (channel, _) = guest.started(words(&["sleep", "1000"]));
    let mut left = STDIN_WINDOW as usize;
    while left > 0 {
        let len = left.min(100_000);
        guest.send(channel, &ToGuest::Stdin(Bytes::from(vec![0; len])));
        left -= len;
    }
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n", "others do not wait");
    guest.signal(channel, 9, false);
    assert_eq!(guest.exited(channel).status, Status::Signal(9));
}

#[test]
fn output_stops_where_the_window_ends() {
    let mut guest = Guest::ready();
    let (channel, _) = guest.started(Start { output_window: 100_000, ..words(&["yes"]) });
    let mut got = 0;
    while got < 100_000 {
        match guest.next_of(channel) {
            ToHost::Stdout(bytes) => got += bytes.len(),
            other => panic!("{other:?} instead of output"),
        }
    }
    assert_eq!(got, 100_000);
    for more in [1, 5, 70_000] {
        // While all of these are done, `yes` has every opportunity to say more than it may.
        assert_eq!(guest.run(shell("echo fine")).text(), "fine\n");
        guest.credit(channel, Stream::Stderr, 10);
        guest.send(0, &ToGuest::Ping(more as u64));
        assert_eq!(guest.next_of(0), ToHost::Pong(more as u64));
        assert!(guest.early_of(channel).is_empty(), "output without credit");
        guest.credit(channel, Stream::Stdout, more);
        let mut got = 0;
        while got < more {
            match guest.next_of(channel) {
                ToHost::Stdout(bytes) => got += bytes.len(),
                other => panic!("{other:?} instead of output"),
            }
        }
        assert_eq!(got, more);
    }
}

#[test]
fn a_flood_delays_nobody_else() {
    let mut guest = Guest::ready();
    let floods: Vec<_> = (0..20).map(|_| guest.started(shell("yes & yes >&2")).0).collect();
    for _ in 0..20 {
        assert_eq!(guest.run(words(&["/bin/true"])).status(), Status::Code(0));
    }
    for channel in floods {
        guest.signal(channel, 9, true);
        // Its last megabyte was within the window; of what it said after that, it gets no credit.
        assert!(guest.early_of(channel).iter().all(|message| !matches!(message, ToHost::Exited(_))));
    }
}

#[test]
fn a_grandchild_that_holds_stdout_does_not_delay_the_end() {
    let mut guest = Guest::ready();
    let outcome = guest.run(shell("echo out; echo err >&2; sleep 1000 & echo $!"));
    let text = outcome.text();
    let (first, grandchild) = text.split_once('\n').expect("two lines");
    assert_eq!((first, outcome.stderr.as_slice()), ("out", b"err\n".as_slice()));
    assert!(Path::new("/proc").join(grandchild.trim_end()).exists(), "it lives on");
}

#[test]
fn what_was_written_before_the_end_is_delivered_after_it() {
    let mut guest = Guest::ready();
    // Little enough for the smallest pipe: a user with many pipes gets no larger ones.
    let script = "head -c 4000 /dev/zero; head -c 3000 /dev/zero >&2; (sleep 1000; echo late) & exit 3";
    let (channel, pid) = guest.started(Start { output_window: 0, ..shell(script) });
    until("it was waited for", || !Path::new(&format!("/proc/{pid}")).exists());
    guest.send(0, &ToGuest::Ping(1));
    assert_eq!(guest.next_of(0), ToHost::Pong(1));
    assert!(guest.early_of(channel).is_empty());
    guest.credit(channel, Stream::Stdout, 1_000_000);
    guest.credit(channel, Stream::Stderr, 1_000_000);
    let (mut stdout, mut stderr) = (0, 0);
    let exited = loop {
        match guest.next_of(channel) {
            ToHost::Stdout(bytes) => stdout += bytes.len(),
            ToHost::Stderr(bytes) => stderr += bytes.len(),
            ToHost::Exited(exited) => break exited,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!((stdout, stderr, exited.status), (4000, 3000, Status::Code(3)));
}

#[test]
fn frames_for_a_process_that_has_ended_are_ignored() {
    let mut guest = Guest::ready();
    let (channel, _) = guest.started(words(&["/bin/true"]));
    guest.exited(channel);
    guest.send(channel, &ToGuest::Stdin(Bytes::from_static(b"late")));
    guest.send(channel, &ToGuest::StdinEnd);
    guest.credit(channel, Stream::Stdout, 5);
    guest.signal(channel, 9, true);
    guest.send(channel, &ToGuest::Resize(agentkernel_protocol::WindowSize { rows: 1, cols: 1 }));
    guest.send(0, &ToGuest::Ping(7));
    assert_eq!(guest.next(), Some((0, ToHost::Pong(7))));
}

#[test]
fn many_processes_run_at_once() {
    let mut guest = Guest::ready();
    let channels: Vec<_> = (0..200_u32).map(|_| guest.open(words(&["cat"]))).collect();
    for channel in &channels {
        guest.send(*channel, &ToGuest::Stdin(Bytes::from(format!("I am {channel}"))));
        guest.send(*channel, &ToGuest::StdinEnd);
    }
    for channel in channels {
        guest.await_text(channel, &format!("I am {channel}"));
        assert_eq!(guest.exited(channel).status, Status::Code(0));
    }
}

#[test]
fn one_channel_too_many_is_refused_and_harms_nobody() {
    let mut guest = Guest::ready();
    // Without stdin each takes two descriptors of the agent, of which there may be 4096.
    let idle = Exec { stdin: StdinMode::Null, ..exec(&["sleep", "1000"]) };
    let channels: Vec<_> = (0..1024).map(|_| guest.open(program_of(idle.clone()))).collect();
    let refused = guest.refused(words(&["/bin/true"]));
    assert_eq!((refused.errno, refused.subject.as_str()), (11, "too many open channels"));
    guest.signal(channels[500], 9, false);
    assert_eq!(guest.exited(channels[500]).status, Status::Signal(9));
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
}
