//! What an agent does to itself whose runtime does not: no new privileges, and the filter of system calls.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::set_no_new_privs;

use crate::sys;

/// Bytes of one instruction, as the kernel has them (`struct sock_filter`).
const INSTRUCTION_LEN: usize = 8;

/// Takes from this process, and from all that it starts, whatever a set-user-id program would give; then installs the
/// filters of this file, in their order. Each is the number of its instructions (32 bits, little-endian) and they.
pub fn confine(filters: &Path) -> io::Result<()> {
    set_no_new_privs(true)?;
    let bytes = fs::read(filters)?;
    let mut rest = &bytes[..];
    while let Some((count, after)) = rest.split_first_chunk::<4>() {
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "the filters are cut off");
        let length = usize::try_from(u32::from_le_bytes(*count)).map_err(io::Error::other)?;
        let length = length.checked_mul(INSTRUCTION_LEN).ok_or_else(garbled)?;
        let (program, others) = after.split_at_checked(length).ok_or_else(garbled)?;
        sys::install_filter(&instructions(program))?;
        rest = others;
    }
    // A file without a filter is no file of ours.
    if bytes.is_empty() || !rest.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no filter, or half of one"));
    }
    Ok(())
}

fn instructions(program: &[u8]) -> Vec<libc::sock_filter> {
    let read = |bytes: &[u8; INSTRUCTION_LEN]| {
        let [code_low, code_high, jt, jf, k @ ..] = *bytes;
        let code = u16::from_le_bytes([code_low, code_high]);
        libc::sock_filter { code, jt, jf, k: u32::from_le_bytes(k) }
    };
    program.as_chunks::<INSTRUCTION_LEN>().0.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_read_as_the_kernel_has_it() {
        let [one] = &instructions(&[0x06, 0x01, 2, 3, 0xff, 0xff, 0xff, 0x7f])[..] else { panic!("one") };
        assert_eq!((one.code, one.jt, one.jf, one.k), (0x106, 2, 3, 0x7fff_ffff));
    }
}
