//! How much memory the host has.

use std::fs;

use agentkernel_core::ByteSize;

/// Memory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// All of it.
    pub total_bytes: u64,
    /// What can be had without swapping.
    pub available_bytes: u64,
}

impl HostMemory {
    /// Reads it; `None` where the host does not tell.
    pub fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/meminfo").ok()?)
    }

    /// What can be had now.
    pub fn left() -> Option<ByteSize> {
        ByteSize::bytes(Self::read()?.available_bytes)
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total_bytes: bytes("MemTotal:")?, available_bytes: bytes("MemAvailable:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text = "MemTotal:       1024 kB\nMemFree:  1 kB\nMemAvailable:     512 kB\n";
        let expected = HostMemory { total_bytes: 1 << 20, available_bytes: 512 << 10 };
        assert_eq!(HostMemory::parse(text), Some(expected));
        assert_eq!(HostMemory::parse("MemTotal: 1 kB"), None);
    }
}
