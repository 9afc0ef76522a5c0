//! QEMU's machine protocol: a JSON object in a line, and one in answer (docs/interop/qmp-spec.txt of QEMU).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest line, bytes: a table of devices has some thousand.
const LINE_MAX: u64 = 1 << 20;

/// Events before an answer: a guest causes them.
const EVENTS_MAX: usize = 1000;

/// A conversation with a VMM.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
    patience: Duration,
}

impl Qmp {
    /// Greets a VMM that has called; no answer may take longer than `patience`.
    pub(crate) async fn greet(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        let mut qmp = Self { stream: BufReader::new(stream), patience };
        let greeting = timeout(patience, qmp.hear()).await.map_err(|_| slow("greet"))??;
        if greeting.get("QMP").is_none() {
            return Err(io::Error::other(format!("it does not greet as QEMU does: {}", short(&greeting))));
        }
        qmp.ask("qmp_capabilities", None).await?;
        Ok(qmp)
    }

    /// Asks for one thing, and returns what is answered.
    pub(crate) async fn ask(&mut self, command: &str, arguments: Option<Value>) -> io::Result<Value> {
        let patience = self.patience;
        timeout(patience, self.converse(command, arguments)).await.map_err(|_| slow(command))?
    }

    /// Gives it an open file, which it knows by this name until it has used it.
    pub(crate) async fn give(&mut self, name: &str, file: OwnedFd) -> io::Result<()> {
        let line = format!("{}\n", json!({"execute": "getfd", "arguments": {"fdname": name}}));
        let socket = self.stream.get_ref();
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let files = [file.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
            let slices = [io::IoSlice::new(line.as_bytes())];
            Ok(sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        let sent = timeout(self.patience, socket.async_io(Interest::WRITABLE, send)).await;
        if sent.map_err(|_| slow("getfd"))?? != line.len() {
            return Err(io::Error::other("getfd: it does not listen"));
        }
        drop(file);
        timeout(self.patience, self.answer("getfd")).await.map_err(|_| slow("getfd"))?.map(drop)
    }

    async fn converse(&mut self, command: &str, arguments: Option<Value>) -> io::Result<Value> {
        let mut line = json!({"execute": command});
        if let Some(arguments) = arguments {
            line["arguments"] = arguments;
        }
        self.stream.write_all(format!("{line}\n").as_bytes()).await?;
        self.answer(command).await
    }

    /// The answer to a command, behind events.
    async fn answer(&mut self, command: &str) -> io::Result<Value> {
        for _ in 0..EVENTS_MAX {
            let mut answer = self.hear().await?;
            if answer.get("event").is_some() {
                continue;
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            let why = answer["error"]["desc"].as_str().map_or_else(|| short(&answer), str::to_owned);
            return Err(io::Error::other(format!("{command}: {why}")));
        }
        Err(io::Error::other(format!("{command}: it tells of events, and does not answer")))
    }

    async fn hear(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        let count = (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has hung up"));
        }
        serde_json::from_slice(&line)
            .map_err(|why| io::Error::other(format!("it does not speak QMP ({why}): {}", printable(&line))))
    }
}

fn slow(command: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{command}: it does not answer"))
}

fn short(value: &Value) -> String {
    printable(value.to_string().as_bytes())
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(lines: &str) -> io::Result<Value> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(lines.as_bytes()).await.expect("written");
        let mut qmp = Qmp::greet(ours, Duration::from_millis(50)).await?;
        qmp.ask("query-status", None).await
    }

    const GREETING: &str = "{\"QMP\": {}}\n{\"return\": {}}\n";

    #[tokio::test]
    async fn an_answer_is_heard_behind_events_and_an_error_is_told() {
        let event = "{\"event\": \"RESUME\"}\n";
        let value = told(&format!("{GREETING}{event}{{\"return\": {{\"running\": true}}}}\n")).await;
        assert_eq!(value.expect("answered"), json!({"running": true}));
        let error = told(&format!("{GREETING}{{\"error\": {{\"desc\": \"no such thing\"}}}}\n")).await;
        assert_eq!(error.expect_err("refused").to_string(), "query-status: no such thing");
    }

    #[tokio::test]
    async fn silence_and_nonsense_are_errors() {
        assert_eq!(told(GREETING).await.expect_err("silent").kind(), io::ErrorKind::TimedOut);
        assert_eq!(told("").await.expect_err("silent").kind(), io::ErrorKind::TimedOut);
        assert!(told("hello\n").await.expect_err("nonsense").to_string().contains("does not speak QMP"));
        assert!(told("{}\n").await.expect_err("nonsense").to_string().contains("does not greet"));
    }
}
