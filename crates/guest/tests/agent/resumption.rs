//! Output and input of commands that outlive their host, byte for byte on both sides of the gap.

use std::fs::write;

use agentkernel_protocol::{Exited, Hello, STDIN_WINDOW, Start, Status, Stream, ToGuest, ToHost, WindowSize};
use bytes::Bytes;
use rustix::event::{Timespec, poll};

use crate::client::{Guest, until};
use crate::files::folder;
use crate::launch::hello;
use crate::request::{shell, terminal, words};
use crate::stop::state;
use crate::streams::noise;

const SIZE: WindowSize = WindowSize { rows: 24, cols: 80 };

/// What one host has seen of a command's stdout.
#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    credited: usize,
    exited: Option<Exited>,
}

/// Takes stdout, and gives credit for it, until so many bytes have come or the command has ended. The
/// credit comes late, as a host's does that is busy.
fn take(guest: &mut Guest, channel: u32, enough: usize) -> Seen {
    let mut seen = Seen::default();
    while seen.exited.is_none() && seen.bytes.len() < enough {
        match guest.next_of(channel) {
            ToHost::Stdout(bytes) => seen.bytes.extend_from_slice(&bytes),
            ToHost::Exited(exited) => seen.exited = Some(exited),
            other => panic!("unexpected {other:?}"),
        }
        let owed = seen.bytes.len() - seen.credited;
        if owed >= 100_000 {
            guest.credit(channel, Stream::Stdout, owed);
            seen.credited += owed;
        }
    }
    seen
}

/// The guarantee: all hosts together have seen all that was written, in order, but for a gap at each loss.
/// What is told as lost is exactly what was sent and not credited, so that no gap is longer.
#[test]
fn output_goes_on_byte_for_byte_after_a_gap_that_is_no_longer_than_was_told() {
    let folder = folder();
    let path = folder.path().join("noise");
    // More than is taken, and lost at most, before the last host hears the rest: a window with each of four.
    let written = noise(12_000_000);
    write(&path, &written).expect("a file");
    let (mut guest, porter) = Guest::with_door();
    let (channel, _) = guest.started(words(&["cat", path.to_str().expect("text")]));
    let (mut begin, mut told) = (0, 0); // where this host begins to hear, and what was lost before it
    for enough in [1, 700_000, 1_500_000, 150_000] {
        let seen = take(&mut guest, channel, enough);
        assert!(seen.bytes == written[begin..begin + seen.bytes.len()], "from {begin} on");
        guest.lose_host();
        let ready = guest.find_host(&porter);
        let [survivor] = &ready.survivors[..] else { panic!("{ready:?}") };
        let lost = usize::try_from(survivor.lost_bytes).expect("a few megabytes") - told;
        // Where the next host begins is not said, but follows from the words: sent, less what was credited.
        let next = begin + seen.credited + lost;
        assert!(begin + seen.bytes.len() <= next, "the gap is a part of what was told as lost");
        assert!(lost <= (1 << 20), "and never more than a window");
        (begin, told) = (next, told + lost);
    }
    let seen = take(&mut guest, channel, usize::MAX);
    assert!(seen.bytes == written[begin..], "from {begin} on, {} bytes", seen.bytes.len());
    assert_eq!(seen.exited.expect("ended").status, Status::Code(0));
}

#[test]
fn windows_begin_anew_as_the_next_host_says() {
    let (mut guest, porter) = Guest::with_door();
    let (flood, _) = guest.started(Start { output_window: 1000, ..shell("yes & exec yes >&2") });
    for output_window in [0, 70_000] {
        guest.lose_host();
        guest.find_host_with(&porter, Hello { output_window, ..hello() });
        let (mut stdout, mut stderr) = (0, 0);
        assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
        while stdout < output_window as usize || stderr < output_window as usize {
            match guest.next_of(flood) {
                ToHost::Stdout(bytes) => stdout += bytes.len(),
                ToHost::Stderr(bytes) => stderr += bytes.len(),
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!((stdout, stderr), (output_window as usize, output_window as usize));
        assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
        assert!(guest.early_of(flood).is_empty(), "not a byte more");
    }
}

/// Opens a command, and says this to it.
fn told(guest: &mut Guest, script: &str, text: &[u8]) -> (u32, u32) {
    let (channel, pid) = guest.started(shell(script));
    for piece in text.chunks(100_000) {
        guest.send(channel, &ToGuest::Stdin(Bytes::copy_from_slice(piece)));
    }
    (channel, pid)
}

#[test]
fn stdin_goes_on_where_it_was() {
    let (mut guest, porter) = Guest::with_door();
    let folder = folder();
    let signal = folder.path().join("now");
    let later = format!("until [ -e {} ]; do sleep 0.01; done; cksum", signal.display());
    let bytes = noise(STDIN_WINDOW as usize + 400_000);
    // One has taken all that came, one nothing yet, and one was told the end on top of that.
    let (cat, _) = told(&mut guest, "cat", b"one,");
    guest.await_text(cat, "one,");
    let (open, _) = told(&mut guest, &later, &bytes[..400_000]);
    let (ended, _) = told(&mut guest, &later, &bytes[..400_000]);
    guest.send(ended, &ToGuest::StdinEnd);
    guest.send(0, &ToGuest::Ping(1));
    while guest.next_of(0) != ToHost::Pong(1) {}
    let survivors = guest.change_host(&porter);
    let free: Vec<_> = survivors.iter().map(|one| one.stdin_free).collect();
    let [Some(STDIN_WINDOW), Some(free), None] = free[..] else { panic!("{survivors:?}") };
    // A pipe is 64 KiB deep, unless this user has too many.
    assert!((STDIN_WINDOW - 400_000..=STDIN_WINDOW - 400_000 + 65_536).contains(&free), "{free}");
    guest.send(cat, &ToGuest::Stdin(Bytes::from_static(b"two")));
    guest.send(cat, &ToGuest::StdinEnd);
    guest.await_text(cat, "two");
    assert_eq!(guest.exited(cat).status, Status::Code(0));
    // As much as is free, and not a byte more, is taken without a word of the other one.
    for piece in bytes[400_000..400_000 + free as usize].chunks(100_000) {
        guest.send(open, &ToGuest::Stdin(Bytes::copy_from_slice(piece)));
    }
    write(&signal, b"").expect("a file");
    let mut credit = 0;
    while credit < STDIN_WINDOW {
        let ToHost::StdinCredit(bytes) = guest.next_of(open) else { panic!("credit") };
        credit += bytes;
    }
    assert_eq!(credit, STDIN_WINDOW, "for what was queued before as well as for what came now");
    guest.send(open, &ToGuest::StdinEnd);
    for (channel, len) in [(open, 400_000 + free as usize), (ended, 400_000)] {
        let expected = guest.run_with(words(&["cksum"]), &bytes[..len]).expect("it starts").text();
        let seen = take(&mut guest, channel, usize::MAX); // and no credit to a host that has sent nothing
        assert_eq!(String::from_utf8_lossy(&seen.bytes), expected);
    }
}

#[test]
fn a_terminal_goes_on() {
    let (mut guest, porter) = Guest::with_door();
    let script = "stty -echo; echo ready; read line; echo \"got $line\"; read line; stty size; tty; exit 5";
    let (channel, pid) = guest.started(terminal(script, SIZE));
    guest.await_text(channel, "ready\r\n");
    let survivors = guest.change_host(&porter);
    let [survivor] = &survivors[..] else { panic!("{survivors:?}") };
    assert_eq!((survivor.channel, survivor.pid, survivor.lost_bytes), (channel, pid, 7));
    assert!(survivor.has_terminal && survivor.stdin_free == Some(STDIN_WINDOW), "{survivor:?}");
    guest.send(channel, &ToGuest::Stdin(Bytes::from_static(b"hello\n")));
    guest.await_text(channel, "got hello\r\n");
    guest.send(channel, &ToGuest::Resize(WindowSize { rows: 50, cols: 132 }));
    guest.send(channel, &ToGuest::Stdin(Bytes::from_static(b"\n")));
    let text = guest.await_text(channel, "/dev/pts/");
    assert!(text.starts_with("50 132\r\n"), "{text:?}");
    assert_eq!(guest.exited(channel).status, Status::Code(5));
}

#[test]
fn a_terminal_keeps_its_last_words_until_somebody_listens() {
    for takes_its_time in [false, true] {
        let (mut guest, porter) = Guest::with_door();
        let folder = folder();
        let signal = folder.path().join("now");
        // More than twice what the line discipline holds, and less than what the kernel holds before it; and
        // another process keeps the terminal open, so that its end does not tell.
        let wait = format!("until [ -e {} ]; do sleep 0.01; done", signal.display());
        let script =
            format!("stty -opost; {wait}; trap '' HUP; sleep 1000 & head -c 11000 /dev/zero; exit 3");
        let (channel, pid) = guest.started(terminal(&script, SIZE));
        guest.lose_host();
        write(&signal, b"").expect("a file");
        until("it has ended", || state(pid).is_none());
        longer_than_it_lingers();
        let output_window = if takes_its_time { 0 } else { 1 << 20 };
        let survivors = guest.find_host_with(&porter, Hello { output_window, ..hello() }).survivors;
        assert!(survivors[0].ended.is_none(), "there is something to be said before");
        if takes_its_time {
            longer_than_it_lingers();
            guest.credit(channel, Stream::Stdout, 1 << 20);
        }
        let seen = take(&mut guest, channel, usize::MAX);
        assert_eq!((seen.bytes.len(), seen.exited.expect("ended").status), (11_000, Status::Code(3)));
    }
}

/// Lets the time pass for which a terminal is listened to that others keep open.
fn longer_than_it_lingers() {
    poll(&mut [], Some(&Timespec { tv_sec: 1, tv_nsec: 500_000_000 })).expect("a while");
}
