//! A guest that has outlived its last host: what it may tell of that, and what becomes of it.

use agentkernel_core::{
    Command, Ended, ErrorKind, ExitStatus, Process, ProcessEvent, Profile, SandboxSpec, SignalTarget,
    TerminalSize,
};
use agentkernel_link::{ExecDefaults, Link, LinkedSandbox, connect, reconnect};
use agentkernel_protocol::{
    Exited, OUTPUT_WINDOW, Ready, STDIN_WINDOW, Signal, Status, Survivor, ToGuest, ToHost, Usage, WindowSize,
};
use bytes::Bytes;

use crate::fake_boundary::{FakeBoundary, Fate};
use crate::fake_guest::{FakeGuest, closed, drain, exited, hello, ready, ready_info, running, soon, stdout};

/// A command that runs, and has all of its window for stdin.
fn survivor(channel: u32) -> Survivor {
    Survivor {
        channel,
        pid: 100 + channel,
        has_terminal: false,
        stdin_free: Some(STDIN_WINDOW),
        lost_bytes: 0,
        ended: None,
    }
}

fn tells(last_channel: u32, survivors: Vec<Survivor>) -> Ready {
    Ready { last_channel, survivors, ..ready(hello().token) }
}

/// A guest that tells of these, and all that the host gets of them.
async fn reconnected(said: Ready) -> (FakeGuest, Link, Vec<Box<dyn Process>>) {
    let (mut guest, stream) = FakeGuest::new();
    let (found, ()) = joined!(reconnect(stream, hello()), async {
        let greeting = guest.hear_hello().await;
        assert_eq!((greeting.token, greeting.output_window), (hello().token, OUTPUT_WINDOW));
        guest.say(0, ToHost::Ready(said)).await;
    });
    let (link, info, commands) = found.expect("greeted");
    assert_eq!(info, ready_info());
    (guest, link, commands)
}

#[tokio::test]
async fn commands_come_back_with_their_pids_and_go_on_to_their_exact_end() {
    let lossy = Survivor { lost_bytes: 12_345, ..survivor(7) };
    let (mut guest, _link, mut commands) = reconnected(tells(9, vec![survivor(2), lossy])).await;
    let facts: Vec<_> = commands.iter().map(|command| (command.pid(), command.lost_bytes())).collect();
    assert_eq!(facts, [(102, 0), (107, 12_345)]);
    guest.say(7, stdout(5)).await;
    let last = Exited { status: Status::Signal(15), timed_out: true, usage: Usage::default() };
    guest.say(7, ToHost::Exited(last)).await;
    guest.say(2, exited(3)).await;
    assert_eq!(drain(&mut *commands[1]).await, (b"xxxxx".to_vec(), "signal 15".into()));
    assert_eq!(drain(&mut *commands[0]).await, (Vec::new(), "exit code 3".into()));
}

#[tokio::test]
async fn a_command_that_has_ended_says_so_once_and_hears_nothing() {
    let usage = Usage { user_us: 1, system_us: 2, max_rss_kib: 3, wall_ns: 4 };
    let ended = Some(Exited { status: Status::Code(7), timed_out: true, usage });
    let last_word = Survivor { ended, stdin_free: None, lost_bytes: 3, ..survivor(1) };
    let (mut guest, link, mut commands) = reconnected(tells(1, vec![last_word])).await;
    let command = &mut commands[0];
    assert_eq!((command.pid(), command.lost_bytes()), (101, 3));
    let control = command.control();
    control.write_stdin(Bytes::from_static(b"late")).await.expect("ignored");
    control.signal(9, SignalTarget::Group).await.expect("ignored");
    let Ok(ProcessEvent::Exited(exit)) = soon(command.next()).await else { panic!("an exit") };
    assert_eq!((exit.status, exit.timed_out), (ExitStatus::Code(7), true));
    assert_eq!(exit.usage.wall.as_nanos(), 4);
    assert_eq!(soon(command.next()).await.expect_err("over").kind, ErrorKind::Internal);
    drop(commands);
    guest.hear_nothing().await;
    guest.say(1, stdout(1)).await;
    assert_eq!(closed(&link).await.why, "Stdout frame on channel 1: its process has ended");
}

#[tokio::test]
async fn new_channels_have_numbers_that_no_host_has_used() {
    let (mut guest, link, _commands) = reconnected(tells(41, vec![survivor(7)])).await;
    let (channel, _process) = running(&mut guest, &link, &Command::new(["true"])).await;
    assert_eq!(channel, 42);
    let (_guest, link, _commands) = reconnected(tells(u32::MAX, vec![survivor(7)])).await;
    let error = link.exec(&Command::new(["true"]), &ExecDefaults::default()).await.map(drop);
    assert_eq!(error.expect_err("no number is left").kind, ErrorKind::SandboxGone);
}

#[tokio::test]
async fn channels_that_are_not_told_of_are_closed() {
    for (channel, why) in [(6, "its process has ended"), (10, "it was never opened")] {
        let (mut guest, link, _commands) = reconnected(tells(9, vec![survivor(7)])).await;
        guest.say(channel, stdout(1)).await;
        let closed = closed(&link).await;
        assert!(closed.is_broken() && closed.why.ends_with(why), "{closed:?}");
    }
}

#[tokio::test]
async fn stdin_has_the_window_that_the_guest_tells() {
    let partly = Survivor { stdin_free: Some(1000), ..survivor(1) };
    let over = Survivor { stdin_free: None, ..survivor(2) };
    let (mut guest, link, commands) = reconnected(tells(2, vec![partly, over])).await;
    let [control, over] = [0, 1].map(|index: usize| commands[index].control());
    let error = over.write_stdin(Bytes::from_static(b"x")).await.expect_err("it has ended");
    assert_eq!(error.kind, ErrorKind::Usage);
    control.write_stdin(Bytes::from(vec![b'a'; 1000])).await.expect("within the window");
    assert_eq!(guest.hear().await, (1, ToGuest::Stdin(Bytes::from(vec![b'a'; 1000]))));
    let more = control.write_stdin(Bytes::from(vec![b'b'; 500]));
    tokio::pin!(more);
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), &mut more).await;
    assert!(early.is_err(), "the window is full");
    // Credit for what the lost host had sent counts as well, up to the last byte of the window.
    guest.say(1, ToHost::StdinCredit(STDIN_WINDOW)).await;
    soon(more).await.expect("there is room now");
    assert_eq!(guest.hear().await, (1, ToGuest::Stdin(Bytes::from(vec![b'b'; 500]))));
    control.close_stdin().await.expect("closed");
    assert_eq!(guest.hear().await, (1, ToGuest::StdinEnd));
    guest.say(1, ToHost::StdinCredit(501)).await;
    assert!(closed(&link).await.why.ends_with("501 bytes were taken of 500 that were sent"));
}

#[tokio::test]
async fn output_has_a_whole_window_again_and_is_paid_for() {
    let (mut guest, _link, mut commands) = reconnected(tells(1, vec![survivor(1)])).await;
    for _ in 0..4 {
        guest.say(1, stdout(OUTPUT_WINDOW as usize / 4)).await;
    }
    let mut taken = 0;
    while taken < OUTPUT_WINDOW as usize {
        let Ok(ProcessEvent::Output(_, bytes)) = soon(commands[0].next()).await else { panic!("output") };
        taken += bytes.len();
    }
    let half = ToGuest::Credit(agentkernel_protocol::Stream::Stdout, OUTPUT_WINDOW / 2);
    assert_eq!(guest.hear().await, (1, half.clone()));
    assert_eq!(guest.hear().await, (1, half));
}

#[tokio::test]
async fn commands_that_came_back_are_talked_to_and_killed_like_any_other() {
    let terminal = Survivor { has_terminal: true, ..survivor(3) };
    let (mut guest, link, mut commands) = reconnected(tells(3, vec![terminal])).await;
    let command = commands.remove(0);
    command.control().signal(2, SignalTarget::Process).await.expect("sent");
    assert_eq!(guest.hear().await, (3, ToGuest::Signal(Signal { number: 2, group: false })));
    command.control().resize(TerminalSize { rows: 5, cols: 6 }).await.expect("sent");
    assert_eq!(guest.hear().await, (3, ToGuest::Resize(WindowSize { rows: 5, cols: 6 })));
    drop(command);
    assert_eq!(guest.hear().await, (3, ToGuest::Signal(Signal { number: 9, group: true })));
    drop(link);
    assert_eq!(guest.try_hear().await, None, "the last handle closes the stream");
}

#[tokio::test]
async fn a_guest_of_another_build_is_not_lost_and_one_of_another_protocol_is_told() {
    let older = Ready { build: "before the upgrade".into(), ..tells(3, vec![survivor(3)]) };
    assert_eq!(reconnected(older).await.2[0].pid(), 103);
    let foreign = ToHost::Ready(Ready { protocol: 99, ..tells(3, vec![survivor(3)]) });
    let (_guest, got, remote) = adopted(foreign, None).await;
    let error = got.map(drop).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Boot);
    assert!(error.why.starts_with("it speaks protocol 99, this program protocol"), "{error}");
    assert_eq!(remote.fate(), Fate { stopped: false, dropped: true });
}

#[tokio::test]
async fn a_guest_that_was_just_made_has_no_commands() {
    for said in [tells(1, Vec::new()), tells(1, vec![survivor(1)])] {
        let (mut guest, stream) = FakeGuest::new();
        let (connected, ()) = joined!(connect(stream, hello()), async {
            guest.hear_hello().await;
            guest.say(0, ToHost::Ready(said)).await;
        });
        let error = connected.map(drop).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::ProtocolBroken);
        assert_eq!(error.why, "it tells of commands, and none was started");
    }
}

fn spec() -> SandboxSpec {
    SandboxSpec::builder("test".parse().expect("a name"), Profile::Restrictive).build().expect("valid")
}

type Got = agentkernel_core::Result<(LinkedSandbox, agentkernel_link::ReadyInfo, Vec<Box<dyn Process>>)>;

/// A sandbox whose guest answers with this, and what was done to its boundary.
async fn adopted(answer: ToHost, saw: Option<Ended>) -> (FakeGuest, Got, crate::fake_boundary::Remote) {
    let (mut guest, stream) = FakeGuest::new();
    let (boundary, remote) = FakeBoundary::new();
    if let Some(ended) = saw {
        remote.end(ended);
    }
    let spec = spec();
    let adopting = LinkedSandbox::adopt(&spec, boundary, stream, hello(), ExecDefaults::default());
    let (got, ()) = joined!(adopting, async {
        guest.hear_hello().await;
        guest.say(0, answer).await;
    });
    (guest, got, remote)
}

#[tokio::test]
async fn a_sandbox_comes_back_with_its_commands() {
    let said = ToHost::Ready(tells(3, vec![survivor(3)]));
    let (mut guest, got, remote) = adopted(said, None).await;
    let (sandbox, info, mut commands) = got.expect("adopted");
    assert_eq!((info, commands[0].pid()), (ready_info(), 103));
    guest.say_exited(3, 0).await;
    assert_eq!(drain(&mut *commands[0]).await.1, "exit code 0");
    assert_eq!(remote.fate(), Fate::default());
    soon(agentkernel_core::Sandbox::stop(Box::new(sandbox))).await.expect("stopped");
    assert_eq!(remote.fate(), Fate { stopped: true, dropped: true });
}

#[tokio::test]
async fn a_breach_after_it_came_back_stops_the_boundary() {
    let (mut guest, got, remote) = adopted(ToHost::Ready(tells(3, vec![survivor(3)])), None).await;
    let (sandbox, _, mut commands) = got.expect("adopted");
    guest.say(3, ToHost::Started(5)).await;
    assert_eq!(soon(commands[0].next()).await.expect_err("broken").kind, ErrorKind::ProtocolBroken);
    while !remote.fate().stopped {
        tokio::task::yield_now().await;
    }
    drop(sandbox);
}

#[tokio::test]
async fn what_cannot_be_got_back_now_stays_as_it_is() {
    let ended = Ended { cause: agentkernel_core::CauseOfDeath::OutOfMemory, detail: "limit 64M".into() };
    let (_guest, got, remote) = adopted(ToHost::Fault("the token is wrong".into()), Some(ended)).await;
    let error = got.map(drop).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Boot);
    let why = "the guest agent says: the token is wrong; the boundary says: out of memory: limit 64M";
    assert_eq!(error.why, why);
    assert_eq!(remote.fate(), Fate { stopped: false, dropped: true });
}

#[tokio::test]
async fn a_guest_that_lies_about_its_survivors_is_taken_down() {
    let twice = ToHost::Ready(tells(9, vec![survivor(3), survivor(3)]));
    let (_guest, got, remote) = adopted(twice, None).await;
    assert_eq!(got.map(drop).expect_err("refused").kind, ErrorKind::ProtocolBroken);
    assert_eq!(remote.fate(), Fate { stopped: true, dropped: true });
}
