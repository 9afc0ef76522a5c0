//! Files that the kernel makes up while they are read, in /proc and in control groups.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Room for most of them at once, in bytes: what the kernel makes up at a time (a page).
const ROOM: usize = 4096;

/// Most that is read of one, in bytes: a list of a hundred thousand mounts is shorter.
const LENGTH_MAX: u64 = 64 << 20;

/// Reads one. `std::fs::read` asks for the length first, which is always 0, and then takes bites of 32 bytes and more:
/// nine system calls for a list of mounts, and here five.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(ROOM);
    File::open(path)?.take(LENGTH_MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// The same, of one that is text.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_however_long_it_is() {
        assert_eq!(
            read("/proc/self/limits").expect("read"),
            std::fs::read("/proc/self/limits").expect("read")
        );
        let folder = tempfile::tempdir().expect("temp dir");
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM] {
            let path = folder.path().join(length.to_string());
            std::fs::write(&path, "x".repeat(length)).expect("written");
            assert_eq!(read_text(&path).expect("read").len(), length);
        }
        std::fs::write(folder.path().join("bytes"), [0xff]).expect("written");
        assert!(read_text(folder.path().join("bytes")).is_err());
    }
}
