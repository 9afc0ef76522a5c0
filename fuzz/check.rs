//! What must hold for any bytes, in any pieces. The fuzzer looks for bytes that break it, and
//! `crates/protocol/tests/corpus.rs` replays those that were found, and the seeds, in every test run.

use agentkernel_protocol::{
    Decoder, Direction, Encodable, Frame, HEADER_LEN, MAX_PAYLOAD, ProtocolError, encode,
};
use bytes::BytesMut;

/// Messages that travel in `direction`, out of any bytes; the first one says in which pieces the others
/// arrive.
pub fn any_bytes<M>(direction: Direction, data: &[u8])
where
    M: TryFrom<Frame, Error = ProtocolError> + Encodable + PartialEq + std::fmt::Debug,
{
    let Some((piece, bytes)) = data.split_first() else { return };
    let mut decoder = Decoder::new(direction);
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => survives::<M>(direction, frame),
                Ok(None) => break,
                Err(_) => return, // the stream is dead, and nobody reads on
            }
        }
        assert!(decoder.buffer().len() < HEADER_LEN + MAX_PAYLOAD, "a whole frame was not taken");
        assert!(
            decoder.buffer().capacity() <= bytes.len() + HEADER_LEN + MAX_PAYLOAD,
            "room for more than a frame"
        );
    }
}

/// A message that was understood can be said again, and is understood as the same.
fn survives<M>(direction: Direction, frame: Frame)
where
    M: TryFrom<Frame, Error = ProtocolError> + Encodable + PartialEq + std::fmt::Debug,
{
    let channel = frame.channel;
    let Ok(message) = M::try_from(frame) else { return };
    let mut again = BytesMut::new();
    if encode(channel, &message, &mut again).is_err() {
        return; // longer in its canonical form than it came in, and just too long
    }
    let mut decoder = Decoder::new(direction);
    decoder.push(&again);
    let frame = decoder.next_frame().expect("our own frame").expect("a whole one");
    assert_eq!((frame.channel, M::try_from(frame).as_ref()), (channel, Ok(&message)));
    assert!(decoder.is_between_frames());
}
