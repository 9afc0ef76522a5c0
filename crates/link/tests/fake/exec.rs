//! Commands: what the guest is asked, and what becomes of its answers.

use std::time::Duration;

use agentkernel_core::{
    Command, CommandUser, ErrorKind, ExitStatus, OutputStream, ProcessEvent, SignalTarget, TerminalSize,
};
use agentkernel_link::ExecDefaults;
use agentkernel_protocol::{
    Exited, OUTPUT_WINDOW, Refused, Signal, Stage, Status, StdinMode, Task, ToGuest, ToHost, Usage, UserIds,
    WindowSize,
};
use bytes::Bytes;

use crate::fake_guest::{FakeGuest, cat, drain, running, soon};

#[tokio::test]
async fn a_command_reaches_the_guest_as_it_was_given() {
    let (mut guest, link) = FakeGuest::connected().await;
    let mut command = Command::new([&b"printf"[..], b"a b", b"\xff", b""]);
    command.user = Some(CommandUser { uid: 5, gid: 6 });
    command.timeout = Some(Duration::from_millis(1500));
    command.terminal = Some(TerminalSize { rows: 24, cols: 80 });
    let defaults = ExecDefaults::default();
    let (process, (channel, start)) = joined!(link.exec(&command, &defaults), guest.begin());
    assert_eq!((process.expect("started").pid(), channel), (101, 1));
    assert_eq!((start.timeout_ms, start.output_window), (Some(1500), OUTPUT_WINDOW));
    assert_eq!(start.user, Some(UserIds { uid: 5, gid: 6 }));
    let Task::Exec(exec) = start.task else { panic!("an exec") };
    assert_eq!(exec.argv, command.argv);
    assert_eq!(exec.cwd, b"/workspace");
    assert_eq!(exec.stdin, StdinMode::Null);
    assert_eq!(exec.terminal, Some(WindowSize { rows: 24, cols: 80 }));
}

#[tokio::test]
async fn output_and_exit_arrive_exactly() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &Command::new(["tool"])).await;
    guest.say(channel, ToHost::Stdout(Bytes::from_static(b"out\xff"))).await;
    guest.say(channel, ToHost::Stderr(Bytes::from_static(b"err"))).await;
    let usage = Usage { user_us: 1, system_us: 2, max_rss_kib: 3, wall_ns: 4 };
    let last = Exited { status: Status::Signal(9), timed_out: true, usage };
    guest.say(channel, ToHost::Exited(last)).await;

    let out = ProcessEvent::Output(OutputStream::Stdout, Bytes::from_static(b"out\xff"));
    assert_eq!(soon(process.next()).await, Ok(out));
    let err = ProcessEvent::Output(OutputStream::Stderr, Bytes::from_static(b"err"));
    assert_eq!(soon(process.next()).await, Ok(err));
    let Ok(ProcessEvent::Exited(exited)) = soon(process.next()).await else { panic!("an exit") };
    assert_eq!((exited.status, exited.timed_out), (ExitStatus::Signal(9), true));
    assert_eq!(exited.usage.wall, Duration::from_nanos(4));
    assert_eq!(soon(process.next()).await.expect_err("over").kind, ErrorKind::Internal);
}

#[tokio::test]
async fn a_refusal_becomes_an_error_for_whoever_asked_and_the_link_goes_on() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (command, defaults) = (Command::new(["nosuch"]), ExecDefaults::default());
    let (process, ()) = joined!(link.exec(&command, &defaults), async {
        let (channel, _) = guest.hear_start().await;
        let refused = Refused { stage: Stage::Lookup, errno: 2, subject: "nosuch".into() };
        guest.say(channel, ToHost::Refused(refused)).await;
    });
    let error = process.map(|_| ()).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::CommandNotFound);
    assert_eq!(error.to_string(), "start the command: nosuch: No such file or directory");
    let (channel, _) = running(&mut guest, &link, &command).await;
    assert_eq!(channel, 2);
}

#[tokio::test]
async fn words_that_fit_no_frame_are_refused_here() {
    let (mut guest, link) = FakeGuest::connected().await;
    let long = Command::new(["echo".to_owned(), "x".repeat(300_000)]);
    let error = link.exec(&long, &ExecDefaults::default()).await.map(|_| ()).expect_err("too long");
    assert_eq!(error.kind, ErrorKind::Usage);
    let (channel, _) = running(&mut guest, &link, &Command::new(["echo"])).await;
    assert_eq!(channel, 1, "no number was used for it");
}

#[tokio::test]
async fn two_processes_do_not_hear_each_other() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (a, mut first) = running(&mut guest, &link, &Command::new(["a"])).await;
    let (b, mut second) = running(&mut guest, &link, &Command::new(["b"])).await;
    for _ in 0..3 {
        guest.say(a, ToHost::Stdout(Bytes::from_static(b"a"))).await;
        guest.say(b, ToHost::Stdout(Bytes::from_static(b"b"))).await;
    }
    guest.say_exited(b, 2).await;
    guest.say_exited(a, 1).await;
    assert_eq!(drain(&mut *first).await, (b"aaa".to_vec(), "exit code 1".into()));
    assert_eq!(drain(&mut *second).await, (b"bbb".to_vec(), "exit code 2".into()));
}

#[tokio::test]
async fn a_dropped_process_is_killed_and_what_it_still_says_is_paid_for() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, process) = running(&mut guest, &link, &Command::new(["yes"])).await;
    let window = vec![b'y'; 256 * 1024];
    let mut credit = 0;
    for _ in 0..4 {
        guest.say(channel, ToHost::Stdout(Bytes::from(window.clone()))).await;
    }
    link_has_read(&mut guest, &link).await;
    drop(process);
    assert_eq!(guest.hear().await, (channel, ToGuest::Signal(Signal { number: 9, group: true })));
    while credit < OUTPUT_WINDOW {
        credit += hear_credit(&mut guest, channel).await;
    }
    for _ in 0..4 {
        guest.say(channel, ToHost::Stdout(Bytes::from(window.clone()))).await;
    }
    guest.say_exited(channel, 0).await;
    link_has_read_except_credit(&mut guest, &link).await;
}

/// A ping that has come back means that all frames before it were served.
async fn link_has_read(guest: &mut FakeGuest, link: &agentkernel_link::Link) {
    let (pong, ()) = joined!(link.ping(), async {
        let (0, ToGuest::Ping(number)) = guest.hear().await else { panic!("a ping") };
        guest.say(0, ToHost::Pong(number)).await;
    });
    pong.expect("answered");
}

async fn link_has_read_except_credit(guest: &mut FakeGuest, link: &agentkernel_link::Link) {
    let (pong, ()) = joined!(link.ping(), async {
        loop {
            match guest.hear().await {
                (0, ToGuest::Ping(number)) => break guest.say(0, ToHost::Pong(number)).await,
                (_, ToGuest::Credit(..)) => {}
                other => panic!("heard {other:?}"),
            }
        }
    });
    pong.expect("answered");
}

async fn hear_credit(guest: &mut FakeGuest, channel: u32) -> u32 {
    match guest.hear().await {
        (heard, ToGuest::Credit(_, bytes)) if heard == channel => bytes,
        other => panic!("expected Credit, heard {other:?}"),
    }
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_any_more_is_killed_as_soon_as_it_runs() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (command, defaults) = (Command::new(["sleep"]), ExecDefaults::default());
    let waiting = tokio::time::timeout(Duration::from_millis(20), link.exec(&command, &defaults)).await;
    assert!(waiting.is_err(), "given up");
    let (channel, _) = guest.hear_start().await;
    guest.hear_nothing().await;
    guest.say(channel, ToHost::Started(5)).await;
    assert_eq!(guest.hear().await, (channel, ToGuest::Signal(Signal { number: 9, group: true })));
    guest.say_exited(channel, 0).await;
    link_has_read(&mut guest, &link).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_answer_is_not_waited_for_for_ever() {
    let (_guest, link) = FakeGuest::connected().await;
    let (command, defaults) = (Command::new(["true"]), ExecDefaults::default());
    let error = link.exec(&command, &defaults).await.map(|_| ()).expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert_eq!(link.ping().await.expect_err("no answer").kind, ErrorKind::Timeout);
}

#[tokio::test]
async fn signals_and_sizes_reach_the_process_and_nobody_after_its_end() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    control.signal(15, SignalTarget::Process).await.expect("sent");
    assert_eq!(guest.hear().await, (channel, ToGuest::Signal(Signal { number: 15, group: false })));
    control.resize(TerminalSize { rows: 1, cols: 2 }).await.expect("sent");
    assert_eq!(guest.hear().await, (channel, ToGuest::Resize(WindowSize { rows: 1, cols: 2 })));
    assert_eq!(control.signal(65, SignalTarget::Group).await.expect_err("none").kind, ErrorKind::Usage);
    guest.say_exited(channel, 0).await;
    drain(&mut *process).await;
    control.signal(9, SignalTarget::Group).await.expect("ignored");
    control.resize(TerminalSize { rows: 1, cols: 2 }).await.expect("ignored");
    control.write_stdin(Bytes::from_static(b"late")).await.expect("ignored");
    control.close_stdin().await.expect("ignored");
    guest.hear_nothing().await;
}

#[tokio::test]
async fn the_last_handle_closes_the_stream() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (_, process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    drop(link);
    drop(process);
    assert!(matches!(guest.hear().await, (1, ToGuest::Signal(_))), "the control keeps the stream open");
    drop(control);
    assert_eq!(guest.try_hear().await, None);
}

#[tokio::test]
async fn shutdown_asks_the_guest_and_waits_for_its_end() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (closed, ()) = joined!(link.shutdown(), async {
        assert_eq!(guest.hear().await, (0, ToGuest::Shutdown));
        drop(guest);
    });
    assert_eq!(closed.why, "the guest agent closed its stream");
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_even_if_the_guest_does_not() {
    let (mut guest, link) = FakeGuest::connected().await;
    let closed = link.shutdown().await;
    assert!(closed.why.contains("did not end"), "{closed:?}");
    assert_eq!(guest.hear().await, (0, ToGuest::Shutdown));
    assert_eq!(guest.try_hear().await, None);
}
