//! The wire: every message survives it, and nothing else gets through.

mod message;
mod survivors;

use agentkernel_protocol::{
    Decoder, Direction, Encodable, Exited, FileError, FileInfo, Frame, HEADER_LEN, Hello, Kind, MAX_PAYLOAD,
    ProtocolError, Signal, Status, ToGuest, ToHost, Token, Usage, decode_record, encode, encode_record,
    read_records,
};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use self::message::{file_info, to_guest, to_host};

/// Bytes that get further than noise would: headers of known kinds among them, with any length.
fn plausible_bytes() -> impl Strategy<Value = Vec<u8>> {
    let lens = prop_oneof![0..50_u32, 0..300_000_u32, any::<u32>()];
    let header = (lens, prop::sample::select(Kind::ALL), any::<u32>()).prop_map(|(len, kind, channel)| {
        [&len.to_le_bytes()[..], &[kind as u8], &channel.to_le_bytes()].concat()
    });
    vec(prop_oneof![header, vec(any::<u8>(), 0..50)], 0..40).prop_map(|parts| parts.concat())
}

fn frame_of(channel: u32, message: &impl Encodable) -> BytesMut {
    let mut frame = BytesMut::new();
    encode(channel, message, &mut frame).expect("a message that fits");
    frame
}

/// All messages of bytes that come in pieces of these lengths, over and over.
fn messages<M: TryFrom<Frame, Error = ProtocolError>>(
    direction: Direction,
    bytes: &[u8],
    pieces: &[usize],
) -> Result<Vec<(u32, M)>, ProtocolError> {
    let mut decoder = Decoder::new(direction);
    let mut messages = Vec::new();
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        let (piece, after) = rest.split_at((*piece).min(rest.len()));
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            messages.push((frame.channel, frame.try_into()?));
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    assert!(decoder.is_between_frames(), "all was taken");
    Ok(messages)
}

proptest! {
    #[test]
    fn every_message_of_the_host_survives_in_any_pieces(
        said in vec((any::<u32>(), to_guest()), 1..10),
        pieces in vec(1..200_usize, 1..10),
    ) {
        let bytes: Vec<_> = said.iter().flat_map(|(channel, message)| frame_of(*channel, message)).collect();
        prop_assert_eq!(messages(Direction::ToGuest, &bytes, &pieces), Ok(said));
    }

    #[test]
    fn every_message_of_the_guest_survives_in_any_pieces(
        said in vec((any::<u32>(), to_host()), 1..10),
        pieces in vec(1..200_usize, 1..10),
    ) {
        let bytes: Vec<_> = said.iter().flat_map(|(channel, message)| frame_of(*channel, message)).collect();
        prop_assert_eq!(messages(Direction::ToHost, &bytes, &pieces), Ok(said));
    }

    #[test]
    fn any_bytes_are_an_error_or_a_message_and_never_held_beyond_a_frame(
        bytes in plausible_bytes(),
        piece in 1..100_usize,
        to_guest in any::<bool>(),
    ) {
        let direction = if to_guest { Direction::ToGuest } else { Direction::ToHost };
        let mut decoder = Decoder::new(direction);
        let mut pushed = 0;
        'stream: for piece in bytes.chunks(piece) {
            decoder.push(piece);
            pushed += piece.len();
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) if to_guest => drop(ToGuest::try_from(frame)),
                    Ok(Some(frame)) => drop(ToHost::try_from(frame)),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
            prop_assert!(decoder.buffer().len() < HEADER_LEN + MAX_PAYLOAD);
            prop_assert!(decoder.buffer().capacity() <= pushed + HEADER_LEN + MAX_PAYLOAD);
        }
    }

    #[test]
    fn a_frame_of_any_length_and_body_is_never_a_panic(
        kind in prop::sample::select(Kind::ALL),
        channel in any::<u32>(),
        body in vec(any::<u8>(), 0..300),
    ) {
        let payload = Bytes::from(body);
        drop(ToGuest::try_from(Frame { kind, channel, payload: payload.clone() }));
        drop(ToHost::try_from(Frame { kind, channel, payload }));
    }

    #[test]
    fn bytes_after_the_body_are_refused(message in to_guest(), answer in to_host()) {
        let longer = |direction, mut frame: BytesMut| {
            let len = u32::try_from(frame.len() - HEADER_LEN + 1).expect("a short frame");
            frame[..4].copy_from_slice(&len.to_le_bytes());
            frame.extend_from_slice(&[0]);
            let mut decoder = Decoder::new(direction);
            decoder.push(&frame);
            decoder.next_frame().expect("a good header").expect("a whole frame")
        };
        let frame = longer(Direction::ToGuest, frame_of(1, &message));
        let is_raw = matches!(message, ToGuest::Stdin(_));
        prop_assert_eq!(ToGuest::try_from(frame).is_ok(), is_raw);
        let frame = longer(Direction::ToHost, frame_of(1, &answer));
        let is_raw = matches!(answer, ToHost::Stdout(_) | ToHost::Stderr(_));
        prop_assert_eq!(ToHost::try_from(frame).is_ok(), is_raw);
    }

    #[test]
    fn a_body_that_is_cut_short_is_refused(message in to_guest(), keep in any::<prop::sample::Index>()) {
        let frame = frame_of(1, &message);
        let body = &frame[HEADER_LEN..];
        prop_assume!(!body.is_empty() && !matches!(message, ToGuest::Stdin(_)));
        let payload = Bytes::copy_from_slice(&body[..keep.index(body.len())]);
        let kind = Kind::ALL.iter().copied().find(|kind| *kind as u8 == frame[4]).expect("a known kind");
        let refused = ToGuest::try_from(Frame { kind, channel: 1, payload }).is_err();
        prop_assert!(refused);
    }

    #[test]
    fn a_frame_from_the_wrong_side_is_refused(message in to_guest(), answer in to_host()) {
        let refused = |direction, bytes: &[u8]| {
            let mut decoder = Decoder::new(direction);
            decoder.push(bytes);
            matches!(decoder.next_frame(), Err(ProtocolError::WrongDirection(_)))
        };
        prop_assert!(refused(Direction::ToHost, &frame_of(1, &message)));
        prop_assert!(refused(Direction::ToGuest, &frame_of(1, &answer)));
    }

    #[test]
    fn records_survive_in_any_pieces(infos in vec(file_info(), 0..10), piece in 1..100_usize) {
        let output: Vec<_> = infos.iter().flat_map(encode_record).collect();
        prop_assert_eq!(read_records(&output), Ok(infos.clone()));
        let (mut buffer, mut found) = (BytesMut::new(), Vec::<FileInfo>::new());
        for piece in output.chunks(piece) {
            buffer.extend_from_slice(piece);
            while let Some(info) = decode_record(&mut buffer).expect("our own record") {
                found.push(info);
            }
        }
        prop_assert_eq!(found, infos);
        if !output.is_empty() {
            let cut = read_records::<FileInfo>(&output[..output.len() - 1]);
            prop_assert_eq!(cut, Err(ProtocolError::MalformedRecord("cut short")));
        }
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        drop(read_records::<FileInfo>(&bytes));
        drop(read_records::<FileError>(&bytes));
    }
}

#[test]
fn a_length_over_the_cap_is_refused_before_anything_is_held() {
    for len in [MAX_PAYLOAD + 1, u32::MAX as usize] {
        let mut decoder = Decoder::new(Direction::ToGuest);
        decoder.push(&u32::try_from(len).expect("four bytes").to_le_bytes());
        decoder.push(&[Kind::Stdin as u8, 0, 0, 0, 0]);
        let capacity = decoder.buffer().capacity();
        assert_eq!(decoder.next_frame(), Err(ProtocolError::TooLong { len }));
        assert_eq!(decoder.buffer().capacity(), capacity, "no room was made for it");
    }
    let mut out = BytesMut::from(&b"before"[..]);
    let message = ToHost::Stdout(Bytes::from(vec![0; MAX_PAYLOAD + 1]));
    assert_eq!(encode(1, &message, &mut out), Err(ProtocolError::TooLong { len: MAX_PAYLOAD + 1 }));
    assert_eq!(out, b"before"[..], "nothing was appended");
}

#[test]
fn the_largest_and_the_smallest_payload_pass() {
    for len in [0, 1, MAX_PAYLOAD] {
        let message = ToHost::Stdout(Bytes::from(vec![7; len]));
        let bytes = frame_of(u32::MAX, &message);
        assert_eq!(bytes.len(), HEADER_LEN + len);
        assert_eq!(messages(Direction::ToHost, &bytes, &[4096]), Ok(vec![(u32::MAX, message)]));
    }
}

#[test]
fn unknown_kinds_are_refused() {
    let known: Vec<_> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
    for byte in (0..=255).filter(|byte| !known.contains(byte)) {
        let mut decoder = Decoder::new(Direction::ToGuest);
        decoder.push(&[0, 0, 0, 0, byte, 0, 0, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(ProtocolError::UnknownKind(byte)));
    }
}

#[test]
fn numbers_that_are_no_signal_are_refused() {
    for number in [0, 65, 255] {
        let frame = frame_of(1, &ToGuest::Signal(Signal { number, group: false }));
        assert!(messages::<ToGuest>(Direction::ToGuest, &frame, &[99]).is_err());
        let status = Status::Signal(number);
        let frame =
            frame_of(1, &ToHost::Exited(Exited { status, timed_out: false, usage: Usage::default() }));
        assert!(messages::<ToHost>(Direction::ToHost, &frame, &[99]).is_err());
    }
}

#[test]
fn a_record_that_claims_too_much_is_refused_before_it_is_waited_for() {
    let mut buffer = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    let refused = decode_record::<FileInfo>(&mut buffer);
    assert_eq!(refused, Err(ProtocolError::MalformedRecord("longer than a frame may be")));
}

#[test]
fn a_token_is_never_shown() {
    let token = Token([0xab; 32]);
    let hello = Hello { protocol: 3, build: "b".into(), token, mounts: Vec::new(), output_window: 0 };
    let shown = format!("{:?}", ToGuest::Hello(hello));
    assert!(shown.contains("Token(…)") && !shown.contains("171"), "{shown}");
}
