//! What happens to sandboxes, as server-sent events.

use agentkernel_api::Event;

use crate::{Download, Error, Result};

/// The longest line of the stream that is read.
const LINE_MAX: usize = 1 << 20;

/// Events as they happen. Dropping it ends the stream.
pub struct EventStream {
    download: Download,
    parser: Parser,
}

impl EventStream {
    pub(crate) fn new(download: Download) -> Self {
        Self { download, parser: Parser::default() }
    }

    /// The next event; `None` when the daemon ends.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(line) = self.parser.line() {
                if let Some(event) = event(&line)? {
                    return Ok(Some(event));
                }
            }
            match self.download.next().await? {
                Some(bytes) => self.parser.take(&bytes)?,
                None => return Ok(None),
            }
        }
    }
}

/// An event is one line of data; comments keep the connection alive.
fn event(line: &[u8]) -> Result<Option<Event>> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(None) };
    serde_json::from_slice(data).map(Some).map_err(|why| Error::broken("read the events", why))
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Parser {
    waiting: Vec<u8>,
}

impl Parser {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if self.waiting.len() + bytes.len() > LINE_MAX {
            return Err(Error::broken("read the events", format!("a line is longer than {LINE_MAX} bytes")));
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.waiting.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.waiting.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use agentkernel_api::{EventKind, State};

    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let json = r#"{"sequence":7,"time_ms":1,"sandbox":"s","name":"n","kind":"state","state":"running","cause":null,"pid":null}"#;
        let text = format!(": hello\n\nevent: state\r\ndata: {json}\r\n\r\ndata:{json}\n\n");
        for size in [1, 7, 1000] {
            let (mut parser, mut events) = (Parser::default(), Vec::new());
            for bytes in text.as_bytes().chunks(size) {
                parser.take(bytes).expect("short");
                while let Some(line) = parser.line() {
                    events.extend(event(&line).expect("JSON"));
                }
            }
            assert_eq!(events.len(), 2);
            assert_eq!(
                (events[0].kind, events[0].state, events[0].sequence),
                (EventKind::State, State::Running, 7)
            );
        }
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let mut parser = Parser::default();
        assert!((0..64).any(|_| parser.take(&[b'x'; 64 << 10]).is_err()));
    }
}
