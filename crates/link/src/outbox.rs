//! What waits to be written to the stream.

use std::io;
use std::sync::Mutex;

use agentkernel_protocol::{HEADER_LEN, MAX_PAYLOAD, ProtocolError, ToGuest, encode};
use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::lock::lock;

/// Bytes that callers may have waiting: enough to keep the stream busy, and for sixteen of the largest
/// frames.
const ROOM: usize = 16 * FRAME_LEN_MAX;

/// Bytes that may wait in all, credit and kills included, which take no room. Only a guest that sends
/// output without ever reading the credit for it gets that far.
const LEN_MAX: usize = 2 * ROOM;

/// Capacity of a written batch that is kept for the next one.
const KEPT_CAPACITY: usize = 512 * 1024;

/// Length of the largest frame.
pub(crate) const FRAME_LEN_MAX: usize = HEADER_LEN + MAX_PAYLOAD;

/// Frames on their way to the writer. Callers wait for room; what answers the guest does not, because
/// the reader and destructors cannot wait.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    room: Semaphore,
    filled: Notify,
    overflowed: Notify,
}

#[derive(Default)]
struct Queue {
    frames: BytesMut,
    /// What has to wait until a guest that is held has been renewed.
    held: Option<BytesMut>,
    /// Room that is given back when these frames are written.
    reserved: usize,
}

/// Room for one frame.
pub(crate) struct Room<'a> {
    outbox: &'a Outbox,
    permit: SemaphorePermit<'a>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            room: Semaphore::new(ROOM),
            filled: Notify::new(),
            overflowed: Notify::new(),
        }
    }

    /// Waits for room for a frame of at most `len` bytes; `None` when the link is closed.
    pub(crate) async fn reserve(&self, len: usize) -> Option<Room<'_>> {
        let len = u32::try_from(len.min(FRAME_LEN_MAX)).ok()?;
        let permit = self.room.acquire_many(len).await.ok()?;
        Some(Room { outbox: self, permit })
    }

    /// Queues a small frame at once.
    pub(crate) fn push(&self, channel: u32, message: &ToGuest) {
        // The frames that are sent this way have bodies of a few bytes.
        self.append(channel, message, 0).ok();
    }

    fn append(&self, channel: u32, message: &ToGuest, reserved: usize) -> Result<(), ProtocolError> {
        let len = {
            let mut queue = lock(&self.queue);
            let Queue { frames, held, .. } = &mut *queue;
            let frames = held.as_mut().unwrap_or(frames);
            encode(channel, message, frames)?;
            let len = frames.len();
            queue.reserved += reserved;
            len
        };
        self.filled.notify_one();
        if len > LEN_MAX {
            self.overflowed.notify_one();
        }
        Ok(())
    }

    /// Queues the order to hold still: what comes after it waits until [`Self::let_go`].
    pub(crate) fn hold(&self) {
        {
            // At once: nobody's frame may come between the two.
            let mut queue = lock(&self.queue);
            // An empty frame is never too long.
            encode(0, &ToGuest::Hold, &mut queue.frames).ok();
            queue.held.get_or_insert_default();
        }
        self.filled.notify_one();
    }

    /// Queues what a guest that is held has to hear, and nothing else may come before.
    pub(crate) fn push_to_held(&self, message: &ToGuest) -> Result<(), ProtocolError> {
        encode(0, message, &mut lock(&self.queue).frames)?;
        self.filled.notify_one();
        Ok(())
    }

    /// All that waited goes on.
    pub(crate) fn let_go(&self) {
        {
            let mut queue = lock(&self.queue);
            if let Some(held) = queue.held.take() {
                queue.frames.extend_from_slice(&held);
            }
        }
        self.filled.notify_one();
    }

    /// Nobody takes anything any more: whoever waits for room is told.
    pub(crate) fn close(&self) {
        self.room.close();
    }

    /// Waits until more waits than ever should.
    pub(crate) async fn overflowed(&self) {
        self.overflowed.notified().await;
    }

    /// Writes whatever comes, until that fails.
    pub(crate) async fn write_to(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Error {
        let mut batch = BytesMut::new();
        loop {
            self.filled.notified().await;
            let reserved = self.take(&mut batch);
            let mut written = stream.write_all(&batch).await;
            if written.is_ok() {
                written = stream.flush().await;
            }
            if let Err(error) = written {
                return error;
            }
            self.room.add_permits(reserved);
            batch.clear();
            if batch.capacity() > KEPT_CAPACITY {
                batch = BytesMut::new();
            }
        }
    }

    /// Exchanges the (empty) batch for all that waits.
    fn take(&self, batch: &mut BytesMut) -> usize {
        let mut queue = lock(&self.queue);
        std::mem::swap(&mut queue.frames, batch);
        std::mem::take(&mut queue.reserved)
    }
}

impl Room<'_> {
    /// Queues a frame. One that is larger than a frame may be is refused, and nothing was queued.
    pub(crate) fn push(self, channel: u32, message: &ToGuest) -> Result<(), ProtocolError> {
        self.outbox.append(channel, message, self.permit.num_permits())?;
        self.permit.forget(); // the writer gives it back
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentkernel_protocol::{Decoder, Direction, Stream};
    use bytes::Bytes;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    #[tokio::test]
    async fn whoever_has_no_room_waits_until_the_writer_has_made_some() {
        let outbox = Outbox::new();
        for _ in 0..ROOM / FRAME_LEN_MAX {
            let room = outbox.reserve(FRAME_LEN_MAX).await.expect("open");
            room.push(1, &ToGuest::Stdin(Bytes::from(vec![0; MAX_PAYLOAD]))).expect("fits");
        }
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        let mut decoder = Decoder::new(Direction::ToGuest);
        tokio::select! {
            biased;
            _ = outbox.reserve(1) => panic!("there is no room"),
            () = tokio::task::yield_now() => {}
        }
        let reading = async {
            while far.read_buf(decoder.buffer()).await.expect("readable") > 0 {
                decoder.buffer().clear();
            }
        };
        tokio::select! {
            error = outbox.write_to(&mut near) => panic!("{error}"),
            () = reading => panic!("the writer has ended"),
            room = timeout(Duration::from_secs(10), outbox.reserve(FRAME_LEN_MAX)) => {
                assert!(room.expect("in time").is_some());
            }
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_leaves_nothing_and_its_room_comes_back() {
        let outbox = Outbox::new();
        for _ in 0..100 {
            let room = outbox.reserve(FRAME_LEN_MAX).await.expect("open");
            assert!(room.push(1, &ToGuest::Stdin(Bytes::from(vec![0; MAX_PAYLOAD + 1]))).is_err());
        }
        assert!(lock(&outbox.queue).frames.is_empty());
    }

    #[tokio::test]
    async fn credit_that_nobody_reads_is_bounded() {
        let outbox = Outbox::new();
        let mut frames = 0;
        while lock(&outbox.queue).frames.len() <= LEN_MAX {
            outbox.push(1, &ToGuest::Credit(Stream::Stdout, 1));
            frames += 1;
        }
        outbox.overflowed().await;
        assert!(frames > 100_000, "and no honest guest comes near: {frames}");
    }

    #[tokio::test]
    async fn nothing_comes_between_an_order_to_hold_still_and_the_renewal() {
        let outbox = Outbox::new();
        let said = || {
            let mut decoder = Decoder::new(Direction::ToGuest);
            decoder.push(&std::mem::take(&mut lock(&outbox.queue).frames));
            let frames = std::iter::from_fn(|| decoder.next_frame().expect("whole"));
            frames.map(|frame| ToGuest::try_from(frame).expect("a message")).collect::<Vec<_>>()
        };
        outbox.push(0, &ToGuest::Ping(1));
        outbox.hold();
        outbox.push(0, &ToGuest::Ping(2));
        assert_eq!(said(), [ToGuest::Ping(1), ToGuest::Hold]);
        outbox.push_to_held(&ToGuest::Renew("x".into())).expect("short");
        assert_eq!(said(), [ToGuest::Renew("x".into())]);
        outbox.let_go();
        outbox.push(0, &ToGuest::Ping(3));
        assert_eq!(said(), [ToGuest::Ping(2), ToGuest::Ping(3)]);
    }

    #[tokio::test]
    async fn a_closed_outbox_has_no_room() {
        let outbox = Outbox::new();
        outbox.close();
        assert!(outbox.reserve(1).await.is_none());
    }
}
