//! The program inside: does one piece of work, prints its result on stdout, and how long it took on stderr.
//!
//! ```text
//! workload print WORD     the word
//! workload loop START     the integer loop
//! workload walk FOLDER    the walk with many stats
//! workload idle WORD      the word; then it waits for the end of its input
//! workload hold WORD      likewise, with 64 MiB of memory that it has written to
//! workload flood SEED     100 MB of output
//! workload syscalls WORD   many system calls of each kind, the word and how many of each were right
//! workload file FOLDER SEED   a file written, read and removed: its sum
//! workload facts          what it sees of its confinement; then it waits likewise
//! ```

mod amounts;
mod blocks;
mod calls;
mod facts;
mod sys;
mod work;

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["print", word] => say(word),
        ["loop", start] => timed(|| Ok(work::integer_loop(amounts::LOOP_ROUNDS, number(start)?).to_string())),
        ["walk", folder] => timed(|| walks(Path::new(folder))),
        ["syscalls", word] => in_parts(|| calls::system_calls(Path::new(&own()?), word)),
        ["file", folder, seed] => in_parts(|| calls::file(Path::new(folder), number(seed)?)),
        ["idle", word] => say(word).and_then(|()| wait_for_the_end()),
        ["hold", word] => hold(word),
        ["flood", seed] => number(seed).and_then(flood),
        ["facts"] => say(&facts::line()).and_then(|()| wait_for_the_end()),
        _ => Err(io::Error::other("print, loop, walk, syscalls, file, flood, idle, hold or facts?")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("workload: {why}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(io::Error::other)
}

/// The result on stdout is the same each time, and so the time is told elsewhere.
fn timed(work: impl FnOnce() -> io::Result<String>) -> io::Result<()> {
    let started = Instant::now();
    let result = work()?;
    let elapsed = started.elapsed();
    eprintln!("workload inside_ns={}", elapsed.as_nanos());
    say(&result)
}

/// Likewise, with the time of each part.
fn in_parts(work: impl FnOnce() -> io::Result<calls::Done>) -> io::Result<()> {
    timed(|| {
        let done = work()?;
        for (name, ns) in &done.parts {
            eprintln!("workload part {name}={ns}");
        }
        Ok(done.says)
    })
}

/// Where this program is, as it was started: not every /proc can tell.
fn own() -> io::Result<String> {
    std::env::args().next().ok_or_else(|| io::Error::other("it has no name"))
}

fn walks(folder: &Path) -> io::Result<String> {
    let mut seen = work::Seen::default();
    for _ in 0..amounts::TREE_WALKS {
        work::walk(folder, &mut seen)?;
    }
    Ok(format!("{} {}", seen.entries, seen.bytes))
}

fn say(word: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{word}")?;
    stdout.flush()
}

fn hold(word: &str) -> io::Result<()> {
    let held = std::hint::black_box(vec![1_u8; amounts::HELD_BYTES]);
    say(word)?;
    wait_for_the_end()?;
    drop(held);
    Ok(())
}

fn flood(seed: u64) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut block = vec![0; amounts::FLOOD_BLOCK_BYTES];
    blocks::fill(seed, 0, &mut block);
    for number in 0..amounts::FLOOD_BLOCKS {
        blocks::number(number, &mut block);
        stdout.write_all(&block)?;
    }
    stdout.flush()
}

fn wait_for_the_end() -> io::Result<()> {
    io::stdin().lock().read_to_end(&mut Vec::new()).map(drop)
}
