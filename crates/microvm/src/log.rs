//! What a VMM and its guest's kernel have said last.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Lines that are kept.
const LINES_MAX: usize = 40;

/// Lines that an error shows.
const LINES_SHOWN: usize = 6;

/// Bytes of a line that are kept: a guest may say anything.
const LINE_MAX: u64 = 400;

/// How the kernel tells that it has killed what wanted too much memory, of its group's or of all (`mm/oom_kill.c`).
const OUT_OF_MEMORY: &str = "ut of memory: Killed process";

/// How the kernel says that it has given up. What follows are its registers.
const PANIC: &str = "Kernel panic";

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    has_panicked: bool,
    out_of_memory_kills: u64,
}

/// Heard by threads of its own, lest whoever speaks wait for somebody who listens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Said>>);

impl Log {
    /// Hears one output to its end.
    pub(crate) fn hear(&self, output: impl Read + Send + 'static) -> io::Result<JoinHandle<()>> {
        let log = self.clone();
        let listen = move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                log.add(&line);
                line.clear();
            }
        };
        std::thread::Builder::new().name("ak-vmm-log".into()).spawn(listen)
    }

    /// The last lines as one, behind a colon; nothing if nothing was said.
    pub(crate) fn last_lines(&self) -> String {
        let said = self.said();
        let first = said.lines.len().saturating_sub(LINES_SHOWN);
        let shown = said.lines[first..].join(" | ");
        if shown.is_empty() { shown } else { format!(": {shown}") }
    }

    /// Processes that the guest's kernel has killed for want of memory.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        self.said().out_of_memory_kills
    }

    fn add(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text: String = text.trim().chars().filter(|letter| !letter.is_control()).collect();
        if text.is_empty() {
            return;
        }
        let mut said = self.said();
        if text.contains(OUT_OF_MEMORY) {
            said.out_of_memory_kills += 1;
        }
        if said.has_panicked {
            return;
        }
        said.has_panicked = text.contains(PANIC);
        if said.lines.len() == LINES_MAX {
            said.lines.remove(0);
        }
        said.lines.push(text);
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Nothing that is done under the lock can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_whole_and_safe_to_print() {
        let log = Log::default();
        let mut text: String = (0..100).map(|number| format!("line {number}\r\n")).collect();
        text.push_str("\u{1b}[31m[  1.0] Memory cgroup out of memory: Killed process 7 (tail)\n");
        log.hear(io::Cursor::new(text)).expect("a thread").join().expect("it ends");
        let last = log.last_lines();
        assert!(last.starts_with(": line 95 | ") && last.ends_with("(tail)"), "{last}");
        assert!(!last.contains('\u{1b}') && log.out_of_memory_kills() == 1);
        assert!(log.said().lines.len() == LINES_MAX);
        assert_eq!(Log::default().last_lines(), "");
        log.hear(io::Cursor::new("why\nKernel panic - x\nRAX: 0\n"))
            .expect("a thread")
            .join()
            .expect("it ends");
        assert!(log.last_lines().ends_with("why | Kernel panic - x"), "{}", log.last_lines());
    }
}
