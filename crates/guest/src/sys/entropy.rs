//! The kernel's random numbers, of which a machine that continues from a snapshot must draw others than its siblings.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of `linux/random.h`, as libc does not have them.
const ADD: u64 = 0x4008_5203;
const RESEED: u64 = 0x5207;

/// Most bytes that are stirred in at once.
const MOST: usize = 64;

/// `struct rand_pool_info`, with room for what is stirred in.
#[repr(C)]
struct Pool {
    /// Bits that nobody can guess.
    entropy_count: i32,
    /// Bytes that count.
    buf_size: i32,
    buf: [u8; MOST],
}

/// Stirs these bytes in, and has everything that is drawn from now on depend on them. Needs the rights of root.
pub fn add_entropy(random: &File, bytes: &[u8]) -> io::Result<()> {
    let mut buf = [0; MOST];
    let room = buf.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(bytes);
    let buf_size = i32::try_from(bytes.len()).map_err(io::Error::other)?;
    let pool = Pool { entropy_count: buf_size * 8, buf_size, buf };
    // SAFETY: the first call reads `pool`, which lives across it and holds as many bytes as it says; the second reads nothing.
    unsafe {
        super::checked(libc::ioctl(random.as_raw_fd(), ADD as _, &raw const pool))?;
        super::checked(libc::ioctl(random.as_raw_fd(), RESEED as _, 0))?;
    }
    Ok(())
}
