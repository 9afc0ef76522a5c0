//! The one task that serves a stream: it reads, writes, and says why it ended.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::DuplexStream;
use agentkernel_protocol::Decoder;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use crate::closed::Closed;
use crate::connect::Witness;
use crate::table::{Table, wait_closed};

/// Size of a fresh read buffer as long as no read has filled one: thousands of sandboxes wait, and say nothing but that
/// they are well.
const BUFFER_LEN_AT_FIRST: usize = 1024;

/// Size of a fresh read buffer from then on.
const BUFFER_LEN: usize = 256 * 1024;

/// Part of a buffer's size that has to be free, or a fresh one is taken: what is left over in each buffer is small
/// against it, and a read into a large one is never shorter than most pipes are deep.
const ROOM_MIN: usize = 4;

/// How long to wait for what else there is to know once the stream has ended: its last frames when
/// writing failed first, and then the boundary's word.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(100);

/// Serves the stream until it ends, is broken, or is let go of.
pub(crate) fn start(
    table: Table,
    stream: Box<dyn DuplexStream>,
    decoder: Decoder,
    witness: Witness,
) -> Arc<Table> {
    let table = Arc::new(table);
    let closer = Closer(Arc::clone(&table));
    tokio::spawn(async move { drive(stream, decoder, &closer.0, witness).await });
    table
}

/// Closes the link with the task, however that ends: when the runtime is shut down, nobody may wait on
/// another one for what will never come.
struct Closer(Arc<Table>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close(Closed::ended("the task that served the stream has ended"));
    }
}

async fn drive(stream: Box<dyn DuplexStream>, decoder: Decoder, table: &Table, witness: Witness) {
    let ending = async {
        let closed = serve(stream, decoder, table).await;
        if closed.is_broken() {
            return closed; // the sandbox has to go at once, whatever else is known
        }
        match timeout(LAST_WORDS_WAIT, witness).await {
            Ok(Some(ended)) => closed.explained(&ended),
            _ => closed,
        }
    };
    let closed = tokio::select! {
        closed = ending => closed,
        // Somebody on this side has let go: the stream is dropped with the future above.
        _ = wait_closed(table.watch()) => return,
    };
    table.close(closed);
}

/// Reads and writes on one task: what is read is often answered, and one wake-up serves both.
async fn serve(stream: Box<dyn DuplexStream>, decoder: Decoder, table: &Table) -> Closed {
    let (reader, writer) = split(stream);
    let reading = read(reader, decoder, table);
    tokio::pin!(reading);
    tokio::select! {
        closed = &mut reading => closed,
        error = write(writer, table) => {
            // A guest that is gone may have said why: that is still on its way to us.
            let reading = timeout(LAST_WORDS_WAIT, reading).await;
            reading.unwrap_or_else(|_| Closed::ended(format!("the stream failed: {error}")))
        }
        () = table.outbox.overflowed() => Closed::broken("it sends, and does not read the answers"),
    }
}

async fn write(mut writer: WriteHalf<Box<dyn DuplexStream>>, table: &Table) -> std::io::Error {
    table.outbox.write_to(&mut writer).await
}

async fn read(mut reader: ReadHalf<Box<dyn DuplexStream>>, mut decoder: Decoder, table: &Table) -> Closed {
    let mut buffer_len = BUFFER_LEN_AT_FIRST;
    loop {
        if let Err(closed) = dispatch(&mut decoder, table) {
            return closed;
        }
        match fill(&mut reader, decoder.buffer(), &mut buffer_len).await {
            Ok(0) if decoder.is_between_frames() => {
                return Closed::ended("the guest agent closed its stream");
            }
            Ok(0) => return Closed::ended("the stream ended within a frame"),
            Ok(_) => {}
            Err(error) => return Closed::ended(format!("the stream failed: {error}")),
        }
    }
}

/// Hands out every whole frame.
fn dispatch(decoder: &mut Decoder, table: &Table) -> Result<(), Closed> {
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => table.receive(frame)?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(Closed::broken(error.to_string())),
        }
    }
}

/// Reads once, straight into the buffer that frames are cut from.
async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    buffer_len: &mut usize,
) -> std::io::Result<usize> {
    if buffer.capacity() - buffer.len() < *buffer_len / ROOM_MIN {
        buffer.reserve(*buffer_len);
    }
    let length = reader.read_buf(buffer).await?;
    if buffer.len() == buffer.capacity() {
        *buffer_len = BUFFER_LEN;
    }
    Ok(length)
}
