//! Commands that outlive their host, what becomes of them meanwhile, and what the next host is told.

use std::fs::{read, read_dir, write};
use std::path::Path;

use agentkernel_protocol::{
    Exec, FileRequest, Kind, MAX_CHANNELS, MAX_LAST_WORDS, Start, Status, StdinMode, Stream, Survivor,
    ToGuest, ToHost, WindowSize,
};
use bytes::Bytes;
use rustix::event::{Timespec, poll};

use crate::client::{Guest, until};
use crate::files::{bytes, folder};
use crate::porter::running;
use crate::request::{exec, file, program_of, shell, terminal, words};
use crate::stop::{children_of, state, until_gone};

/// A script that does nothing before this file exists.
fn after(signal: &Path, script: &str) -> Start {
    shell(&format!("until [ -e {} ]; do sleep 0.01; done; {script}", signal.display()))
}

#[test]
fn commands_outlive_a_host_that_is_lost_within_a_frame_and_within_output() {
    for on_stdio in [false, true] {
        let (mut guest, porter) = if on_stdio { Guest::on_stdio_with_door() } else { Guest::with_door() };
        guest.run(words(&["true"]));
        guest.refused(words(&["no such program"]));
        let (idle, idle_pid) = guest.started(words(&["cat"]));
        let silent = Exec { stdin: StdinMode::Null, ..exec(&["sleep", "1000"]) };
        let (silent, silent_pid) = guest.started(program_of(silent));
        let (flood, flood_pid) = guest.started(Start { output_window: 100_000, ..words(&["yes"]) });
        let mut got = 0;
        while got < 130_000 {
            let ToHost::Stdout(bytes) = guest.next_of(flood) else { panic!("output") };
            if got < 30_000 && got + bytes.len() >= 30_000 {
                guest.credit(flood, Stream::Stdout, 30_000);
            }
            got += bytes.len();
        }
        assert_eq!(got, 130_000);
        guest.send_bytes(&[100, 0, 0, 0, Kind::Stdin as u8, 3, 0, 0, 0, b'x']);
        guest.lose_host();
        let ready = guest.find_host(&porter);
        assert_eq!(ready.last_channel, flood);
        let [first, rest @ ..] = &ready.survivors[..] else { panic!("{ready:?}") };
        assert_eq!((first.channel, first.ended.is_some()), (1, true));
        let quiet = Survivor { stdin_free: None, ..running(silent, silent_pid, 0) };
        assert_eq!(rest, [running(idle, idle_pid, 0), quiet, running(flood, flood_pid, 100_000)]);
        // All of them can be talked to, and the new host's own get new numbers.
        guest.send(idle, &ToGuest::Stdin(Bytes::from_static(b"hello")));
        guest.await_text(idle, "hello");
        guest.signal(silent, 15, false);
        assert_eq!(guest.exited(silent).status, Status::Signal(15));
        guest.await_text(flood, "y\n");
        assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
        guest.send(0, &ToGuest::Shutdown);
        assert_eq!(guest.end().code(), Some(0));
        until_gone(&[idle_pid, flood_pid]);
    }
}

#[test]
fn who_ends_while_nobody_listens_has_ended_exactly_so() {
    let (mut guest, porter) = Guest::with_door();
    let folder = folder();
    let signal = folder.path().join("now");
    let (code, code_pid) = guest.started(after(&signal, "exit 7"));
    let (killed, killed_pid) = guest.started(after(&signal, "kill -USR1 $$"));
    let (talks, talks_pid) = guest.started(after(&signal, "head -c 5000 /dev/zero; echo err >&2; exit 3"));
    guest.lose_host();
    let mut newcomer = porter.bring(); // which makes sure that the loss was noticed
    std::io::Write::write_all(&mut newcomer, b"no greeting").expect("taken");
    while !crate::porter::at_end(&newcomer) {}
    write(&signal, b"").expect("a file");
    until("all have ended", || [code_pid, killed_pid, talks_pid].iter().all(|pid| state(*pid).is_none()));
    let survivors = guest.find_host(&porter).survivors;
    let ends: Vec<_> = survivors.iter().map(|one| one.ended.as_ref().map(|ended| ended.status)).collect();
    assert_eq!(ends, [Some(Status::Code(7)), Some(Status::Signal(10)), None]);
    let pids: Vec<_> = survivors.iter().map(|one| (one.channel, one.pid, one.lost_bytes)).collect();
    assert_eq!(pids, [(code, code_pid, 0), (killed, killed_pid, 0), (talks, talks_pid, 0)]);
    for ended in survivors.iter().filter_map(|one| one.ended.as_ref()) {
        assert!(!ended.timed_out && ended.usage.wall_ns > 0, "{ended:?}");
    }
    assert_eq!(survivors[0].stdin_free, None);
    let (mut stdout, mut stderr) = (0, Vec::new());
    let exited = loop {
        match guest.next_of(talks) {
            ToHost::Stdout(bytes) => stdout += bytes.len(),
            ToHost::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            ToHost::Exited(exited) => break exited,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!((stdout, stderr.as_slice(), exited.status), (5000, &b"err\n"[..], Status::Code(3)));
    let again = guest.change_host(&porter);
    assert_eq!(again[..2], survivors[..2], "the host may have been lost before it took them");
    assert_eq!(again[2].ended, Some(exited));
}

#[test]
fn however_many_end_while_nobody_listens_all_of_them_are_told() {
    let (mut guest, porter) = Guest::with_door();
    let folder = folder();
    let signal = folder.path().join("now");
    let count = u8::try_from(2 * MAX_LAST_WORDS).expect("a small number");
    let all: Vec<_> = (0..count).map(|code| guest.started(after(&signal, &format!("exit {code}")))).collect();
    guest.lose_host();
    write(&signal, b"").expect("a file");
    until("all have ended", || all.iter().all(|(_, pid)| state(*pid).is_none()));
    let survivors = guest.find_host(&porter).survivors;
    assert_eq!(survivors.len(), all.len());
    for (code, (survivor, (channel, pid))) in (0..).zip(survivors.iter().zip(all)) {
        let status = survivor.ended.as_ref().map(|ended| ended.status);
        assert_eq!((survivor.channel, survivor.pid, status), (channel, pid, Some(Status::Code(code))));
    }
}

#[test]
fn last_words_that_were_said_are_said_again_but_not_for_ever() {
    let (mut guest, porter) = Guest::with_door();
    let mut said = Vec::new();
    for code in 0..=u8::try_from(MAX_LAST_WORDS).expect("a small number") {
        let (channel, pid) = guest.started(words(&["/bin/sh", "-c", "echo $0; exit $0", &code.to_string()]));
        let ended = Some(guest.exited(channel));
        let (lost_bytes, has_terminal) = (if code < 10 { 2 } else { 3 }, false);
        said.push(Survivor { channel, pid, has_terminal, stdin_free: None, lost_bytes, ended });
    }
    // Neither a worker nor a refusal is a command that anybody could ask for.
    crate::files::done(&mut guest, FileRequest::Stat { path: b"/".to_vec(), follow: true }, b"");
    guest.refused(words(&["no such program"]));
    assert_eq!(guest.change_host(&porter), said[1..]);
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    let expected = [&said[1..], &[running(channel, pid, 0)]].concat();
    assert_eq!(guest.change_host(&porter), expected, "the host may have been lost before it took them");
    guest.signal(channel, 9, false);
    guest.exited(channel);
    let told = guest.change_host(&porter);
    assert_eq!(told[..MAX_LAST_WORDS - 1], said[2..]);
    assert_eq!(told[MAX_LAST_WORDS - 1].ended.as_ref().expect("ended").status, Status::Signal(9));
}

#[test]
fn a_deadline_holds_while_nobody_listens() {
    let (mut guest, porter) = Guest::with_door();
    let limited = Start { timeout_ms: Some(1500), ..shell("trap '' TERM; sleep 1000 & sleep 1000") };
    let (channel, pid) = guest.started(limited);
    guest.lose_host();
    until("its time was up", || state(pid).is_none());
    let survivors = guest.find_host(&porter).survivors;
    let exited = survivors[0].ended.as_ref().expect("it has ended");
    assert_eq!((survivors[0].channel, exited.status, exited.timed_out), (channel, Status::Signal(9), true));
    assert!(exited.usage.wall_ns >= 1_500_000_000, "{exited:?}");
    until("the whole tree is gone", || children_of(guest.pid()).is_empty());
}

#[test]
fn a_file_worker_ends_with_its_host_and_the_file_is_as_it_was() {
    let (mut guest, porter) = Guest::with_door();
    let folder = folder();
    let path = folder.path().join("file");
    write(&path, b"old").expect("a file");
    let request = FileRequest::Write { path: bytes(&path), mode: 0o600 };
    let (channel, pid) = guest.started(file(request));
    guest.send(channel, &ToGuest::Stdin(Bytes::from(vec![b'n'; 200_000])));
    assert!(matches!(guest.next_of(channel), ToHost::StdinCredit(_)), "it is being written");
    guest.lose_host();
    until("the worker is gone", || state(pid).is_none());
    let ready = guest.find_host(&porter);
    assert_eq!((ready.last_channel, ready.survivors), (channel, Vec::new()));
    assert_eq!(read(&path).expect("the file"), b"old");
    assert_eq!(read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

#[test]
fn what_the_host_had_still_said_is_done() {
    // Output is under way, so that the agent may find out by writing before it has read.
    for _ in 0..20 {
        let (mut guest, _porter) = Guest::with_door();
        let (flood, pid) = guest.started(Start { output_window: u32::MAX, ..words(&["yes"]) });
        guest.await_text(flood, "y");
        guest.send(0, &ToGuest::Shutdown);
        guest.lose_host();
        assert_eq!(guest.end().code(), Some(0), "it was asked to end");
        until_gone(&[pid]);
    }
    let (mut guest, porter) = Guest::with_door();
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    guest.signal(channel, 15, false);
    guest.lose_host();
    until("it was killed", || state(pid).is_none());
    let survivors = guest.find_host(&porter).survivors;
    assert_eq!(survivors[0].ended.as_ref().expect("ended").status, Status::Signal(15));
}

#[test]
fn nothing_runs_that_the_next_host_is_not_told_of() {
    let (mut guest, porter) = Guest::with_door();
    for _ in 0..30 {
        for _ in 0..5 {
            guest.open(words(&["sleep", "1000"]));
        }
        guest.lose_host();
        let survivors = guest.find_host(&porter).survivors;
        let told = survivors.iter().filter(|one| one.ended.is_none()).map(|one| one.pid);
        let mut told: Vec<_> = told.collect();
        told.sort_unstable();
        until("who was never heard of is gone", || {
            let mut there = children_of(guest.pid());
            there.sort_unstable();
            there == told
        });
        for one in survivors.iter().filter(|one| one.ended.is_none()) {
            guest.signal(one.channel, 9, false);
            let last = guest.next_of(one.channel);
            assert!(matches!(last, ToHost::Exited(_)), "it has started before, and not now: {last:?}");
        }
    }
}

#[test]
fn as_many_as_there_can_be_survive() {
    let (mut guest, porter) = Guest::with_door();
    guest.run(words(&["true"]));
    let idle = program_of(exec(&["sleep", "1000"]));
    let channels: Vec<_> = (0..MAX_CHANNELS).map(|_| guest.open(idle.clone())).collect();
    for channel in &channels {
        assert!(matches!(guest.next_of(*channel), ToHost::Started(_)));
    }
    let survivors = guest.change_host(&porter);
    let found: Vec<_> = survivors.iter().map(|one| one.channel).collect();
    assert_eq!(found, channels, "all of them, and for the last words there is no room");
    assert_eq!(guest.refused(words(&["true"])).errno, 11);
    guest.signal(channels[7], 9, false);
    assert_eq!(guest.exited(channels[7]).status, Status::Signal(9));
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
}

#[test]
fn a_process_gets_nothing_of_the_door() {
    let (mut guest, porter) = Guest::with_door();
    guest.change_host(&porter);
    let files = guest.run(words(&["ls", "/proc/self/fd"])).text();
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is the folder itself");
}

/// Processor time of a process in ticks of the kernel's clock, mostly hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its state");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
}

#[test]
fn an_agent_without_a_host_does_nothing_while_nothing_happens() {
    let (mut guest, porter) = Guest::with_door();
    let folder = folder();
    let signal = folder.path().join("now");
    // Both have something to say, and nobody to say it to: one goes on, the other has ended meanwhile.
    let (flood, _) = guest.started(words(&["yes"]));
    let script =
        format!("until [ -e {} ]; do sleep 0.01; done; trap '' HUP; sleep 1000 & seq 999", signal.display());
    let (_, terminal_pid) = guest.started(terminal(&script, WindowSize { rows: 24, cols: 80 }));
    guest.await_text(flood, "y");
    guest.lose_host();
    write(&signal, b"").expect("a file");
    until("it has ended", || state(terminal_pid).is_none());
    let before = ticks(guest.pid());
    let (never, two_seconds) = (&mut [][..], Timespec { tv_sec: 2, tv_nsec: 0 });
    poll(never, Some(&two_seconds)).expect("a while");
    assert!(ticks(guest.pid()) - before < 20, "a tenth of the time");
    assert_eq!(guest.find_host(&porter).survivors.len(), 2);
}
