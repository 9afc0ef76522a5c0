//! What the kernel says of the sandbox from inside, for a host that cannot look at it: a page for each file.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::stdio::stdout;

use crate::files::standard;

/// What is told, by the names that the host knows. The limits are those of the reporter, which has them from the same
/// hand as the first process, of which nobody may read them.
const FILES: [(&str, &str); 4] = [
    ("status", "/proc/1/status"),
    ("mounts", "/proc/self/mountinfo"),
    ("limits", "/proc/self/limits"),
    ("network", "/proc/net/dev"),
];

/// Most of one file that is told, bytes: each has some thousand.
const FILE_MAX: u64 = 256 * 1024;

/// Writes `NAME LENGTH`, a newline and so many bytes for each file; one that cannot be read is empty, which is what no
/// host expects.
pub fn run() -> io::Result<i32> {
    // Programs of the sandbox run already: what is told here is nobody's to change.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut page = Vec::new();
    for (name, path) in FILES {
        let mut text = Vec::new();
        if let Ok(file) = File::open(path) {
            file.take(FILE_MAX).read_to_end(&mut text)?;
        }
        page.extend_from_slice(format!("{name} {}\n", text.len()).as_bytes());
        page.extend_from_slice(&text);
    }
    standard(stdout())?.write_all(&page)?;
    Ok(0)
}
