//! Windows: nobody is sent more than he agreed to take.

use std::time::Duration;

use agentkernel_core::{Command, ErrorKind, ProcessEvent};
use agentkernel_protocol::{MAX_PAYLOAD, OUTPUT_WINDOW, STDIN_WINDOW, Stream, ToGuest, ToHost};
use bytes::Bytes;
use tokio::time::timeout;

use crate::fake_guest::{FakeGuest, cat, closed, drain, running, soon, stdout};

const WINDOW: usize = OUTPUT_WINDOW as usize;

#[tokio::test]
async fn credit_comes_for_what_was_taken_and_for_nothing_else() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &Command::new(["yes"])).await;
    for _ in 0..WINDOW / MAX_PAYLOAD {
        guest.say(channel, stdout(MAX_PAYLOAD)).await;
    }
    guest.hear_nothing().await;
    let mut taken = 0;
    while taken < WINDOW / 2 {
        let Ok(ProcessEvent::Output(_, bytes)) = soon(process.next()).await else { panic!("output") };
        taken += bytes.len();
    }
    assert_eq!(guest.hear().await, (channel, ToGuest::Credit(Stream::Stdout, OUTPUT_WINDOW / 2)));
    guest.hear_nothing().await;
}

#[tokio::test]
async fn a_guest_that_keeps_to_its_window_passes_any_amount() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &Command::new(["cat", "large"])).await;
    let sending = async {
        let (mut window, mut left) = (WINDOW, TOTAL);
        while left > 0 {
            let len = left.min(window).min(100_000);
            if len == 0 {
                let (_, ToGuest::Credit(_, bytes)) = guest.hear().await else { panic!("credit") };
                window += bytes as usize;
                assert!(window <= WINDOW, "never more than the window");
                continue;
            }
            guest.say(channel, stdout(len)).await;
            (window, left) = (window - len, left - len);
        }
        guest.say_exited(channel, 0).await;
    };
    let ((), (output, _)) = joined!(sending, drain(&mut *process));
    assert_eq!(output.len(), TOTAL);
}

#[tokio::test]
async fn a_byte_beyond_the_window_breaks_the_protocol() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &Command::new(["yes"])).await;
    for _ in 0..WINDOW / MAX_PAYLOAD {
        guest.say(channel, stdout(MAX_PAYLOAD)).await;
    }
    guest.say(channel, stdout(1)).await;
    let closed = closed(&link).await;
    assert!(closed.is_broken(), "{closed:?}");
    let why = "Stdout frame on channel 1: 1 bytes, and its window of 1048576 allows 0 more";
    assert_eq!(closed.why, why);
    let error = loop {
        if let Err(error) = soon(process.next()).await {
            break error;
        }
    };
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::ProtocolBroken, why));
}

#[tokio::test]
async fn a_process_whose_output_is_not_taken_delays_nobody_else() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (slow, _process) = running(&mut guest, &link, &Command::new(["yes"])).await;
    let (quick, mut other) = running(&mut guest, &link, &Command::new(["echo"])).await;
    for _ in 0..WINDOW / MAX_PAYLOAD {
        guest.say(slow, stdout(MAX_PAYLOAD)).await;
    }
    guest.say(quick, stdout(5)).await;
    guest.say_exited(quick, 0).await;
    assert_eq!(drain(&mut *other).await.0, b"xxxxx");
}

#[tokio::test]
async fn stdin_waits_for_credit_and_comes_in_small_pieces() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    let total = STDIN_WINDOW as usize + 100_000;
    let bytes: Vec<u8> = (0..total).map(|index| (index % 251).to_le_bytes()[0]).collect();
    let sent = Bytes::from(bytes.clone());
    let writing = tokio::spawn(async move {
        control.write_stdin(sent).await.expect("written");
        control.close_stdin().await.expect("closed");
    });
    let mut received = Vec::new();
    while received.len() < STDIN_WINDOW as usize {
        hear_stdin(&mut guest, channel, &mut received).await;
    }
    guest.hear_nothing().await;
    guest.say(channel, ToHost::StdinCredit(100_000)).await;
    while received.len() < total {
        hear_stdin(&mut guest, channel, &mut received).await;
    }
    assert_eq!(guest.hear().await, (channel, ToGuest::StdinEnd));
    assert!(received == bytes, "byte for byte");
    writing.await.expect("done");
}

async fn hear_stdin(guest: &mut FakeGuest, channel: u32, received: &mut Vec<u8>) {
    match guest.hear().await {
        (heard, ToGuest::Stdin(bytes)) if heard == channel => {
            assert!(bytes.len() <= 128 * 1024);
            received.extend_from_slice(&bytes);
        }
        other => panic!("expected Stdin, heard {other:?}"),
    }
}

#[tokio::test]
async fn a_writer_that_gives_up_takes_nothing_from_the_window() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    control.write_stdin(Bytes::from(vec![0; STDIN_WINDOW as usize])).await.expect("within the window");
    for _ in 0..10 {
        let late = control.write_stdin(Bytes::from_static(&[0; 1000]));
        assert!(timeout(Duration::from_millis(1), late).await.is_err(), "the window is full");
    }
    let mut received = Vec::new();
    while received.len() < STDIN_WINDOW as usize {
        hear_stdin(&mut guest, channel, &mut received).await;
    }
    guest.say(channel, ToHost::StdinCredit(STDIN_WINDOW)).await;
    control.write_stdin(Bytes::from(vec![0; STDIN_WINDOW as usize])).await.expect("all of it is free");
}

#[tokio::test]
async fn a_writer_waiting_for_a_process_that_ends_is_let_go() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    let (written, ()) =
        joined!(control.write_stdin(Bytes::from(vec![0; 2 * STDIN_WINDOW as usize])), async {
            let mut received = Vec::new();
            while received.len() < STDIN_WINDOW as usize {
                hear_stdin(&mut guest, channel, &mut received).await;
            }
            guest.say_exited(channel, 0).await;
        });
    written.expect("what nobody reads is ignored");
}

#[tokio::test]
async fn a_command_without_stdin_takes_none() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (_, process) = running(&mut guest, &link, &Command::new(["true"])).await;
    let control = process.control();
    let error = control.write_stdin(Bytes::from_static(b"x")).await.expect_err("no stdin");
    assert_eq!(error.kind, ErrorKind::Usage);
    control.close_stdin().await.expect("closed already");
    guest.hear_nothing().await;
}

#[tokio::test]
async fn two_writers_do_not_mix() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    let (a, b) = (Bytes::from(vec![b'a'; 300_000]), Bytes::from(vec![b'b'; 300_000]));
    let (a, b, received) = joined!(control.write_stdin(a), control.write_stdin(b), async {
        let mut received = Vec::new();
        while received.len() < 600_000 {
            hear_stdin(&mut guest, channel, &mut received).await;
        }
        received
    });
    a.and(b).expect("written");
    assert!(received[..300_000].iter().all(|byte| *byte == received[0]));
    assert!(received[300_000..].iter().all(|byte| *byte != received[0]));
}
