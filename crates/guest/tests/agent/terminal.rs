//! Processes with a terminal.

use agentkernel_protocol::{Status, ToGuest, ToHost, WindowSize};
use bytes::Bytes;

use crate::client::Guest;
use crate::request::terminal;

const SIZE: WindowSize = WindowSize { rows: 24, cols: 80 };

fn typed(text: &'static str) -> ToGuest {
    ToGuest::Stdin(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_terminal_is_one_on_all_three_streams() {
    let mut guest = Guest::ready();
    let script = "tty -s && test -t 1 && test -t 2 && tty && stty size && echo own >/dev/tty; echo err >&2";
    let outcome = guest.run(terminal(script, SIZE));
    let text = outcome.text();
    assert!(text.starts_with("/dev/pts/") && text.ends_with("\r\n24 80\r\nown\r\nerr\r\n"), "{text:?}");
    assert_eq!((outcome.status(), outcome.stderr.len()), (Status::Code(0), 0));
}

#[test]
fn a_new_size_is_seen() {
    let mut guest = Guest::ready();
    let script = "trap 'stty size' WINCH; echo waiting; while :; do sleep 0.05; done";
    let (channel, _) = guest.started(terminal(script, SIZE));
    guest.await_text(channel, "waiting");
    guest.send(channel, &ToGuest::Resize(WindowSize { rows: 50, cols: 132 }));
    guest.await_text(channel, "50 132");
    guest.signal(channel, 9, true);
    assert_eq!(guest.exited(channel).status, Status::Signal(9));
}

#[test]
fn control_c_interrupts() {
    let mut guest = Guest::ready();
    let (channel, _) = guest.started(terminal("echo waiting; exec sleep 1000", SIZE));
    guest.await_text(channel, "waiting");
    guest.send(channel, &typed("\x03"));
    assert_eq!(guest.exited(channel).status, Status::Signal(2));
}

#[test]
fn the_end_of_stdin_is_seen_after_a_line_and_within_one() {
    let mut guest = Guest::ready();
    for text in ["", "line\n", "line\npart"] {
        let (channel, _) = guest.started(terminal("stty -echo; echo ready; wc -c", SIZE));
        guest.await_text(channel, "ready\r\n");
        guest.send(channel, &typed(text));
        guest.send(channel, &ToGuest::StdinEnd);
        guest.await_text(channel, &format!("{}\r\n", text.len()));
        assert_eq!(guest.exited(channel).status, Status::Code(0));
    }
}

#[test]
fn what_is_typed_before_it_reads_is_kept() {
    let mut guest = Guest::ready();
    let channel = guest.open(terminal("read line; echo \"got $line\"", SIZE));
    guest.send(channel, &typed("early\n"));
    assert!(matches!(guest.next_of(channel), ToHost::Started(_)));
    guest.await_text(channel, "got early");
    assert_eq!(guest.exited(channel).status, Status::Code(0));
}

#[test]
fn the_last_line_is_never_lost() {
    let mut guest = Guest::ready();
    for _ in 0..10 {
        let outcome = guest.run(terminal("seq 1 20000; exit 5", SIZE));
        let text = outcome.text();
        assert_eq!((text.lines().count(), text.lines().last()), (20_000, Some("20000")));
        assert_eq!(outcome.status(), Status::Code(5));
    }
}

#[test]
fn who_keeps_the_terminal_open_does_not_delay_the_end() {
    let mut guest = Guest::ready();
    let outcome = guest.run(terminal("trap '' HUP; sleep 1000 & echo left", SIZE));
    assert_eq!((outcome.text().as_str(), outcome.status()), ("left\r\n", Status::Code(0)));
}
