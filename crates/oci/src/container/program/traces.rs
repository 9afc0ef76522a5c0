//! What a runtime leaves on the stage and in its standard error, for whoever wants to know what has become of it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};

use crate::container::{Failure, during};
use crate::engine::{PANIC_LOG, PID_FILE};

/// Most that is told of a runtime's complaints, bytes.
const COMPLAINT_MAX: usize = 2000;

/// What a runtime writes while its container runs. Held as long as that: it would die of writing to nobody.
#[derive(Debug)]
pub(crate) struct Traces {
    pub(super) stage: OwnedFd,
    pub(super) complaints: File,
}

impl Traces {
    /// Why it ended, as it says itself: the first line of a panic, else its last complaint.
    pub(crate) fn last_words(&self) -> String {
        let panic = read_on(&self.stage, PANIC_LOG).unwrap_or_default();
        match panic.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => {
                format!("its kernel panicked: {}", line.trim().chars().take(200).collect::<String>())
            }
            None => last_words(&self.complaints),
        }
    }
}

/// The container's first process, once the runtime has written it down.
pub(super) fn first_process(stage: &OwnedFd) -> Option<i32> {
    read_on(stage, PID_FILE)?.trim().parse().ok()
}

/// The beginning of a file on the stage, which only the runtime writes.
fn read_on(stage: &OwnedFd, name: &str) -> Option<String> {
    let file = openat(stage, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = Vec::new();
    File::from(file).take(64 * 1024).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// What the runtime has complained of, for a person.
pub(super) fn last_words(mut complaints: &File) -> String {
    let mut bytes = vec![0; COMPLAINT_MAX];
    let length = complaints.read(&mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { "it ended without a word".into() } else { text }
}

/// What the other side says of why it failed.
pub(super) fn failure(message: &[u8]) -> Failure {
    let garbled = |why: serde_json::Error| during("start the container runtime")(why);
    serde_json::from_slice(message).unwrap_or_else(garbled)
}
