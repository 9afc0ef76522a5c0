//! Commands, run for real.

use std::time::Duration;

use agentkernel_core::{Command, ErrorKind, ExitStatus, ProcessEvent, SignalTarget, TerminalSize};
use bytes::Bytes;

use crate::real_guest::{RealGuest, finish, shell, shell_with_stdin};

#[tokio::test]
async fn echo_says_what_it_was_told() {
    let guest = RealGuest::start().await;
    let output = guest.run(&Command::new(["echo", "-n", "a  b"])).await;
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"a  b"[..], &b""[..]));
}

#[tokio::test]
async fn streams_codes_and_signals_are_kept_apart() {
    let guest = RealGuest::start().await;
    let output = guest.run(&shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.status, ExitStatus::Code(7));
    assert_eq!(guest.run(&shell("kill -9 $$")).await.status, ExitStatus::Signal(9));
}

#[tokio::test]
async fn the_environment_is_the_defaults_and_the_commands_own() {
    let guest = RealGuest::start().await;
    let mut command = Command::new(["env"]);
    command.env = vec![(b"TERM".into(), b"dumb".into()), (b"X".into(), b"1".into())];
    let output = guest.run(&command).await;
    let expected = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                    HOME=/workspace\nTERM=dumb\nX=1\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[tokio::test]
async fn ten_mebibytes_pass_through_cat_unchanged() {
    let guest = RealGuest::start().await;
    let bytes: Vec<u8> = (0..10_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut process =
        guest.exec(&Command { stdin: agentkernel_core::Stdin::Pipe, ..Command::new(["cat"]) }).await;
    let control = process.control();
    let sent = Bytes::from(bytes.clone());
    let ((), output) = tokio::join!(
        async {
            control.write_stdin(sent).await.expect("written");
            control.close_stdin().await.expect("closed");
        },
        finish(&mut *process)
    );
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commands_run_at_once() {
    let guest = RealGuest::start().await;
    let runs = (0..50).map(|number| {
        let link = guest.link.clone();
        tokio::spawn(async move {
            let command = shell(&format!("head -c 300000 /dev/zero; exit {number}"));
            let mut process = link.exec(&command, &RealGuest::defaults()).await.expect("started");
            let output = finish(&mut *process).await;
            assert_eq!((output.stdout.len(), output.status), (300_000, ExitStatus::Code(number)));
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("as expected");
    }
}

#[tokio::test]
async fn refusals_have_their_kinds() {
    let guest = RealGuest::start().await;
    let refused = |command: Command| {
        let link = guest.link.clone();
        async move { link.exec(&command, &RealGuest::defaults()).await.map(|_| ()).expect_err("refused") }
    };
    let error = refused(Command::new(["no-such-program"])).await;
    assert_eq!(error.kind, ErrorKind::CommandNotFound);
    assert_eq!(error.to_string(), "start the command: no-such-program: No such file or directory");
    assert_eq!(refused(Command::new(["/no/such"])).await.kind, ErrorKind::CommandNotFound);
    assert_eq!(refused(Command::new(["/etc/passwd"])).await.kind, ErrorKind::CommandNotExecutable);
    assert_eq!(refused(Command::new(["/etc"])).await.kind, ErrorKind::CommandNotExecutable);
    let elsewhere = Command { cwd: Some(b"/no/such".into()), ..Command::new(["true"]) };
    let error = refused(elsewhere).await;
    assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::CommandRefused, "/no/such"));
}

#[tokio::test]
async fn a_timeout_kills_the_whole_tree_and_says_so() {
    let guest = RealGuest::start().await;
    let mut command = shell("setsid sleep 100 & sleep 100");
    command.timeout = Some(Duration::from_millis(100));
    let mut process = guest.exec(&command).await;
    let Ok(ProcessEvent::Exited(exited)) = process.next().await else { panic!("an exit") };
    assert_eq!((exited.status, exited.timed_out), (ExitStatus::Signal(9), true));
    assert!(exited.usage.wall >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_signal_ends_a_command_that_waits() {
    let guest = RealGuest::start().await;
    let mut process = guest.exec(&Command::new(["sleep", "100"])).await;
    process.control().signal(15, SignalTarget::Group).await.expect("sent");
    assert_eq!(finish(&mut *process).await.status, ExitStatus::Signal(15));
}

#[tokio::test]
async fn a_terminal_is_one_and_has_its_size() {
    let guest = RealGuest::start().await;
    let mut command = shell_with_stdin("stty size; read line; stty size; echo \"[$line]\"");
    command.terminal = Some(TerminalSize { rows: 11, cols: 22 });
    let mut process = guest.exec(&command).await;
    let control = process.control();
    let first = process.next().await;
    assert!(matches!(&first, Ok(ProcessEvent::Output(_, bytes)) if bytes.starts_with(b"11 22")), "{first:?}");
    control.resize(TerminalSize { rows: 33, cols: 44 }).await.expect("resized");
    control.write_stdin(Bytes::from_static(b"hello\n")).await.expect("typed");
    let output = finish(&mut *process).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("33 44") && text.contains("[hello]"), "{text}");
}

#[tokio::test]
async fn a_dropped_command_is_gone_and_the_link_goes_on() {
    let guest = RealGuest::start().await;
    let process = guest.exec(&shell("yes & yes >&2")).await;
    let pid = process.pid();
    tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.ok();
    drop(process);
    let gone = async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            guest.link.ping().await.expect("answered");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("killed");
    assert_eq!(guest.run(&Command::new(["true"])).await.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_flood_that_nobody_takes_delays_nobody() {
    let guest = RealGuest::start().await;
    let mut flood = guest.exec(&Command::new(["yes"])).await;
    for _ in 0..20 {
        assert_eq!(guest.run(&Command::new(["echo"])).await.stdout, b"\n");
    }
    assert!(matches!(flood.next().await, Ok(ProcessEvent::Output(..))));
}
