//! What a guest may tell a second host of the commands that it finds.

use agentkernel_protocol::{
    Direction, Exited, MAX_CHANNELS, MAX_PAYLOAD, ProtocolError, Ready, STDIN_WINDOW, Status, Survivor,
    ToHost, Token, Usage,
};

use super::{frame_of, messages};

/// A survivor whose every number is as long as it can be.
fn longest(channel: u32) -> Survivor {
    let usage = Usage { user_us: u64::MAX, system_us: u64::MAX, max_rss_kib: u64::MAX, wall_ns: u64::MAX };
    let ended = Exited { status: Status::Signal(64), timed_out: true, usage };
    let (pid, lost_bytes) = (u32::MAX, u64::MAX);
    Survivor {
        channel,
        pid,
        has_terminal: true,
        stdin_free: Some(STDIN_WINDOW),
        lost_bytes,
        ended: Some(ended),
    }
}

fn ready(survivors: Vec<Survivor>) -> Ready {
    Ready {
        protocol: u32::MAX,
        build: "0123456789abcdef".into(),
        token: Token([0xff; 32]),
        started_ns: u64::MAX,
        ready_ns: u64::MAX,
        pid: u32::MAX,
        last_channel: u32::MAX,
        survivors,
    }
}

fn heard(ready: Ready) -> Result<(), ProtocolError> {
    let frame = frame_of(0, &ToHost::Ready(ready.clone()));
    let said = messages::<ToHost>(Direction::ToHost, &frame, &[4096])?;
    assert_eq!(said, [(0, ToHost::Ready(ready))]);
    Ok(())
}

fn refused(ready: Ready) -> &'static str {
    match heard(ready) {
        Err(ProtocolError::Malformed { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn as_many_as_there_are_channels_fit_a_frame_and_one_more_is_refused() {
    let last = u32::try_from(MAX_CHANNELS).expect("a small number");
    let all: Vec<_> = (0..last).map(|number| longest(u32::MAX - last + number)).collect();
    assert!(frame_of(0, &ToHost::Ready(ready(all.clone()))).len() < MAX_PAYLOAD / 2, "with room to spare");
    assert_eq!(heard(ready(all.clone())), Ok(()));
    let more = [all, vec![longest(u32::MAX)]].concat();
    assert_eq!(refused(ready(more)), "more survivors than there are channels");
}

#[test]
fn no_two_are_on_one_channel_and_none_is_on_one_that_was_never_opened() {
    let on = |last_channel, channels: &[u32]| Ready {
        last_channel,
        ..ready(channels.iter().map(|channel| longest(*channel)).collect())
    };
    assert_eq!(heard(on(9, &[1, 8, 9])), Ok(()));
    for wrong in [on(9, &[0]), on(9, &[3, 3]), on(9, &[3, 2]), on(9, &[9, 10]), on(0, &[1])] {
        assert_eq!(refused(wrong), "a survivor on a channel that it cannot have");
    }
}

#[test]
fn none_has_more_than_a_window_or_ended_by_a_signal_that_there_is_not() {
    let greedy = Survivor { stdin_free: Some(STDIN_WINDOW + 1), ..longest(1) };
    assert_eq!(
        refused(ready(vec![longest(1), Survivor { channel: 2, ..greedy }])),
        "a survivor with more than a window for stdin"
    );
    for number in [0, 65] {
        let ended = Exited { status: Status::Signal(number), timed_out: false, usage: Usage::default() };
        assert_eq!(refused(ready(vec![Survivor { ended: Some(ended), ..longest(1) }])), "no such signal");
    }
}
