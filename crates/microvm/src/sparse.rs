//! Files with holes: which parts of them hold data, and how one is laid over another.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Bytes that are copied at once.
const BUFFER: usize = 1 << 16;

/// The next part with data at or behind `at`, if there is one before `end`.
pub(crate) fn data(file: &File, at: u64, end: u64) -> io::Result<Option<Range<u64>>> {
    let begin = match seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        // Behind the last of it.
        Err(Errno::NXIO) => return Ok(None),
        Err(why) => return Err(why.into()),
    };
    if begin >= end {
        return Ok(None);
    }
    Ok(Some(begin..seek(file, SeekFrom::Hole(begin))?.min(end)))
}

/// Fills the holes of a file with what lies at the same places in another one, of the same length.
pub(crate) fn fill_holes(into: &File, from: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    if into.metadata()?.len() != length {
        return Err(io::Error::other("the two are of different lengths"));
    }
    let mut at = 0;
    while let Some(part) = data(from, at, length)? {
        at = part.start;
        while at < part.end {
            let (hole, next) = match data(into, at, part.end)? {
                Some(kept) => (at..kept.start, kept.end),
                None => (at..part.end, part.end),
            };
            copy(into, from, hole)?;
            at = next;
        }
    }
    Ok(())
}

fn copy(into: &File, from: &File, part: Range<u64>) -> io::Result<()> {
    let (mut at, mut buffer) = (part.start, vec![0; BUFFER]);
    while at < part.end {
        let most = usize::try_from(part.end - at).map_or(BUFFER, |left| left.min(BUFFER));
        from.read_exact_at(&mut buffer[..most], at)?;
        into.write_all_at(&buffer[..most], at)?;
        at += most as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4096;

    /// A file of eight blocks with these in it, each full of one letter.
    fn file(blocks: &[(u64, u8)]) -> File {
        let file = tempfile::tempfile().expect("made");
        file.set_len(8 * BLOCK as u64).expect("long");
        for (at, letter) in blocks {
            file.write_all_at(&[*letter; BLOCK], at * BLOCK as u64).expect("written");
        }
        file
    }

    fn letters(file: &File) -> String {
        let mut bytes = vec![0; 8 * BLOCK];
        file.read_exact_at(&mut bytes, 0).expect("read");
        let blocks = bytes.chunks(BLOCK).map(|block| {
            assert!(block.iter().all(|byte| *byte == block[0]));
            if block[0] == 0 { '.' } else { char::from(block[0]) }
        });
        blocks.collect()
    }

    #[test]
    fn what_a_file_does_not_have_comes_from_the_other_and_nothing_else_does() {
        for (into, from, filled) in [
            (&[][..], &[][..], "........"),
            (&[], &[(0, b'a'), (7, b'b')], "a......b"),
            (&[(0, b'x')], &[(0, b'a'), (1, b'b'), (2, b'c')], "xbc....."),
            (&[(1, b'x'), (3, b'y')], &[(0, b'a'), (1, b'b'), (2, b'c'), (3, b'd'), (4, b'e')], "axcye..."),
            (&[(2, b'x'), (5, b'y')], &[(4, b'a'), (5, b'b'), (6, b'c')], "..x.ayc."),
        ] {
            let (into, from) = (file(into), file(from));
            fill_holes(&into, &from).expect("filled");
            assert_eq!(letters(&into), filled);
        }
    }

    #[test]
    fn files_of_different_lengths_are_not_of_one_machine() {
        let (into, from) = (file(&[]), file(&[]));
        into.set_len(1).expect("cut");
        assert!(fill_holes(&into, &from).is_err());
    }
}
