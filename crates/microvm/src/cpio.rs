//! The initramfs: an archive in the kernel's own cpio format, made in memory.

use std::collections::BTreeSet;

/// Types of files in their modes (`inode(7)`).
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// A cpio archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst). All in it is root's.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// A folder, and those above it. Of one that is there already the first mode counts.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) {
        self.folders_above(path);
        if self.folders.insert(path.to_owned()) {
            self.add(path, FOLDER | mode, b"", (0, 0));
        }
    }

    /// A file, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, content: &[u8], mode: u32) {
        self.folders_above(path);
        self.add(path, FILE | mode, content, (0, 0));
    }

    /// A symbolic link, and the folders above it.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.folders_above(path);
        self.add(path, LINK | 0o777, target.as_bytes(), (0, 0));
    }

    /// A character device, and the folders above it.
    pub(crate) fn character_device(&mut self, path: &str, numbers: (u32, u32)) {
        self.folders_above(path);
        self.add(path, CHARACTER_DEVICE | 0o600, b"", numbers);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.add(TRAILER, 0, b"", (0, 0));
        self.bytes
    }

    fn folders_above(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above, 0o755);
        }
    }

    fn add(&mut self, path: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let len = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let name_len = len(path.len() + 1);
        // Inode, mode, uid, gid, links, time, size, device, device of a device file, size of name, checksum.
        let fields =
            [self.entries, mode, 0, 0, 1, 0, len(content.len()), 0, 0, device.0, device.1, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Everything begins at a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("a/b", b"12345", 0o644);
        archive.file("a/c", b"", 0o600);
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes).replace('\0', ".");
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.starts_with("07070100000001000041ed"), "{text}");
        assert_eq!(text.matches("070701").count(), 4, "the folder once, two files, and the end: {text}");
        assert!(text.contains("a/b...12345...070701"), "{text}");
        assert!(text.trim_end_matches('.').ends_with(TRAILER), "{text}");
    }
}
