//! Work that is made of system calls: each kind is timed for itself.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Instant;

use crate::amounts::{GETPIDS, IO_BLOCK_BYTES, IO_BLOCKS, READ_BYTES, READS, STARTS, STATS};
use crate::blocks;

/// What was done, and how long each part of it took, nanoseconds.
pub struct Done {
    /// The result, which is the same each time.
    pub says: String,
    /// The parts by name.
    pub parts: Vec<(&'static str, u128)>,
}

fn timed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(T, u128)> {
    let began = Instant::now();
    let result = work()?;
    Ok((result, began.elapsed().as_nanos()))
}

/// Many of each of the calls that programs make most. `own` is this very program.
pub fn system_calls(own: &Path, word: &str) -> io::Result<Done> {
    let (pids, getpid) = timed(|| Ok((0..GETPIDS).filter(|_| std::process::id() != 0).count()))?;
    let (seen, stat) = timed(|| {
        (0..STATS)
            .try_fold(0, |seen, _| io::Result::Ok(seen + u64::from(fs::symlink_metadata("/")?.is_dir())))
    })?;
    let (bytes, open_read_close) = timed(|| (0..READS).try_fold(0, |bytes, _| Ok(bytes + read(own)?)))?;
    let (started, fork_exec) = timed(|| (0..STARTS).try_fold(0, |sum, _| Ok(sum + start(own, word)?)))?;
    let says = format!("{word} {pids} {seen} {bytes} {started}");
    let parts =
        [("getpid", getpid), ("stat", stat), ("open_read_close", open_read_close), ("fork_exec", fork_exec)];
    Ok(Done { says, parts: parts.to_vec() })
}

/// Opens the file, reads its beginning and closes it.
fn read(file: &Path) -> io::Result<usize> {
    let mut page = [0; READ_BYTES];
    File::open(file)?.read(&mut page)
}

/// Starts this program once more; 1 if it said what it was told to say.
#[expect(
    clippy::disallowed_methods,
    reason = "it runs inside, alone: nothing else can start a program for it"
)]
fn start(own: &Path, word: &str) -> io::Result<u64> {
    let output = std::process::Command::new(own).args(["print", word]).output()?;
    Ok(u64::from(output.status.success() && output.stdout == format!("{word}\n").into_bytes()))
}

/// Writes a file down to where it stays, reads it again, and removes it.
pub fn file(folder: &Path, seed: u64) -> io::Result<Done> {
    let path = folder.join(format!("agentkernel-bench-{}", std::process::id()));
    let mut block = vec![0; IO_BLOCK_BYTES];
    let mut file = File::options().create_new(true).read(true).write(true).open(&path)?;
    let written = timed(|| {
        for number in 0..IO_BLOCKS {
            blocks::fill(seed, number, &mut block);
            file.write_all(&block)?;
        }
        file.sync_all()
    });
    let read = written.and_then(|((), write)| {
        file.rewind()?;
        let (sum, read) = timed(|| {
            (0..IO_BLOCKS)
                .try_fold(0, |sum, _| file.read_exact(&mut block).map(|()| blocks::add(sum, &block)))
        })?;
        Ok(Done { says: sum.to_string(), parts: vec![("write", write), ("read", read)] })
    });
    fs::remove_file(&path)?;
    read
}
