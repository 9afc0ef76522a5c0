//! Commands: words, streams, ends.

use std::time::{Duration, Instant};

use agentkernel_core::{Command, ErrorKind, ExitStatus, ProcessEvent, SignalTarget, Stdin, TerminalSize};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::fixture::{File, Heard, TOOL, hear, limits, ran, run, tool};

#[tokio::test]
async fn words_and_variables_arrive_and_nothing_else_does() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let mut command = tool(&["args", "", "grün", "-x"]);
    command.env = vec![(b"A".to_vec(), b"1=2".to_vec()), (b"B".to_vec(), Vec::new())];
    let (heard, exited) = run(&*sandbox, &command).await;
    assert_eq!(String::from_utf8(heard.stdout).expect("text"), "tool\0args\0\0grün\0-x\0A=1=2\0B=\0");
    assert_eq!((heard.stderr, exited.status), (Vec::new(), ExitStatus::Code(0)));
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn the_end_is_exact() {
    assert_eq!(ran(&["fail"]).await, (Heard::default(), ExitStatus::Code(3)));
    assert_eq!(ran(&["x"]).await.1, ExitStatus::Code(5), "the low eight bits, as everywhere");
    assert_eq!(ran(&["y"]).await.1, ExitStatus::Code(200));
    let (heard, status) = ran(&["err"]).await;
    assert_eq!((heard.stdout, heard.stderr, status), (Vec::new(), b"err".to_vec(), ExitStatus::Code(0)));
    let (heard, status) = ran(&["trap"]).await;
    assert_eq!(status, ExitStatus::Signal(6));
    let told = String::from_utf8(heard.stderr).expect("text");
    assert_eq!(told, "agentkernel: the module trapped: wasm trap: wasm `unreachable` instruction executed\n");
}

#[tokio::test]
async fn stdin_arrives_byte_for_byte_and_its_end_does() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let given: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut process = sandbox.exec(&Command { stdin: Stdin::Pipe, ..tool(&["copy"]) }).await.expect("starts");
    let control = process.control();
    let feed = async {
        for piece in given.chunks(100_000) {
            control.write_stdin(Bytes::copy_from_slice(piece)).await.expect("written");
        }
        control.close_stdin().await.expect("closed");
    };
    let ((), (heard, exited)) = tokio::join!(feed, hear(process.as_mut()));
    assert!(heard.stdout == given, "{} of {} bytes", heard.stdout.len(), given.len());
    assert_eq!(exited.status, ExitStatus::Code(0));
    assert_eq!(run(&*sandbox, &tool(&["copy"])).await.0, Heard::default(), "without stdin it is at its end");
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn a_command_that_computes_for_ever_ends_in_its_time() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let limit = Duration::from_millis(50);
    let began = Instant::now();
    let (_, exited) = run(&*sandbox, &Command { timeout: Some(limit), ..tool(&["loop"]) }).await;
    assert_eq!((exited.status, exited.timed_out), (ExitStatus::Signal(9), true));
    assert!(began.elapsed() >= limit);
    assert!(exited.usage.user > Duration::ZERO && exited.usage.wall >= limit, "{:?}", exited.usage);
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn signals_do_what_they_do_to_a_program_without_handlers() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    for number in [1, 2, 9, 10, 15] {
        let mut process = sandbox.exec(&tool(&["loop"])).await.expect("starts");
        let control = process.control();
        for harmless in [17, 28, 0] {
            control.signal(harmless, SignalTarget::Group).await.expect("sent");
        }
        control.signal(number, SignalTarget::Group).await.expect("sent");
        assert_eq!(hear(process.as_mut()).await.1.status, ExitStatus::Signal(number));
        control.signal(number, SignalTarget::Process).await.expect("what is said after its end is ignored");
    }
    let process = sandbox.exec(&tool(&["loop"])).await.expect("starts");
    let stopped = process.control().signal(19, SignalTarget::Process).await.expect_err("refused");
    assert_eq!(stopped.kind, ErrorKind::NotSupported);
    let wrong = process.control().signal(65, SignalTarget::Process).await.expect_err("refused");
    assert_eq!(wrong.kind, ErrorKind::Usage);
    sandbox.stop().await.expect("stops, with a command in it");
}

#[tokio::test]
async fn output_that_nobody_takes_stops_the_command_and_nobody_else() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let mut flood = sandbox.exec(&tool(&["o"])).await.expect("starts");
    let waits = async {
        // A busy host may let it begin late: it waits once it has used something, and then nothing more.
        let mut before = None;
        loop {
            let used = sandbox.usage().await.expect("told").cpu.filter(|used| !used.is_zero());
            if used.is_some() && used == before {
                break;
            }
            before = used;
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), waits).await.expect("it waits");
    assert_eq!(run(&*sandbox, &tool(&["n"])).await.0.stdout, b"1", "another goes on");
    for _ in 0..100 {
        let event = flood.next().await.expect("more");
        assert!(matches!(event, ProcessEvent::Output(_, bytes) if !bytes.is_empty()));
    }
    // It is stopped although nobody hears it.
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn a_command_that_is_dropped_ends() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let process = sandbox.exec(&tool(&["loop"])).await.expect("starts");
    assert_eq!(sandbox.usage().await.expect("told").pids, Some(1));
    drop(process);
    while sandbox.usage().await.expect("told").pids != Some(0) {
        sleep(Duration::from_millis(1)).await;
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn no_command_finds_what_an_earlier_one_left() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    for _ in 0..20 {
        assert_eq!(run(&*sandbox, &tool(&["n"])).await.0.stdout, b"1");
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn what_a_module_cannot_have_is_refused_by_name() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let size = TerminalSize { rows: 1, cols: 1 };
    for (command, name) in [
        (Command { terminal: Some(size), ..tool(&["a"]) }, "terminal"),
        (Command { cwd: Some(b"/tmp".to_vec()), ..tool(&["a"]) }, "/tmp"),
        (Command::new([b"\xff".to_vec()]), "\\xff"),
        (Command::new([b"a\0b".to_vec()]), "a\\x00b"),
        (Command { env: vec![(b"A".to_vec(), b"\xff".to_vec())], ..tool(&["a"]) }, "A"),
    ] {
        let refused = sandbox.exec(&command).await.map(drop).expect_err(name);
        assert_eq!((refused.kind, refused.subject.as_str()), (ErrorKind::CommandRefused, name));
    }
    let refused = sandbox.files().list(b"/").await.expect_err("no files");
    assert_eq!(refused.kind, ErrorKind::NotSupported);
    sandbox.stop().await.expect("stops");
}
