//! What a machine has of its own, and not of the snapshot that it may come from.
//!
//! A machine that continues from a snapshot knows the same secrets as every other one of it, believes in the time at which
//! that was taken, and cannot tell that it is not the first. So each machine, restored or not, waits here for what makes it
//! itself, before it has given up the right to take it: it says [`WAITING`], hears lines that are steps until [`GO`], carries
//! them out, and tells what it is now. A snapshot is taken while it waits.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::carry_out;
use super::step::Step;
use crate::sys;

/// "All that every machine of this description has in common is there."
const WAITING: &[u8] = b"waiting\n";
/// "That was all."
const GO: &[u8] = b"go\n";

/// Most that is heard, bytes.
const HEARD_MAX: usize = 4096;

/// Where the kernel's random numbers are stirred.
const RANDOM: &str = "/dev/urandom";

/// What this machine's boot is called: the host covers what the kernel calls it, which is the same in all machines of one
/// snapshot, by this file. The same path is in `agentkernel-microvm`'s layout.
const BOOT_ID: &str = "/layer/.agentkernel/boot-id";

/// Waits for it on the stream, takes it, and tells what came of it. An error leaves the machine without a host.
pub fn take(stream: &OwnedFd) -> Result<(), String> {
    match hear(stream) {
        Ok(Some(text)) => obey(stream, &text),
        Ok(None) => Err("the host has not said what this machine is".into()),
        Err(why) => Err(format!("hear: {why}")),
    }
}

/// The same on the stream of whoever calls, which is returned. A host that hangs up before it has said all is followed by
/// another: in a machine that continues, the call of the first one is over.
pub fn take_of_a_caller(listener: &OwnedFd) -> Result<OwnedFd, String> {
    loop {
        let stream = accept(listener).map_err(|why| format!("accept: {why}"))?;
        if let Ok(Some(text)) = hear(&stream) {
            return obey(&stream, &text).map(|()| stream);
        }
    }
}

/// Waits for a call of the host's.
pub fn accept(listener: &OwnedFd) -> std::io::Result<OwnedFd> {
    loop {
        match sys::accept_vsock(listener) {
            Err(why) if matches!(why.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
            called => return called,
        }
    }
}

/// What the host says, up to [`GO`]; nothing if it ends before.
fn hear(stream: &OwnedFd) -> std::io::Result<Option<String>> {
    let mut stream = File::from(stream.try_clone()?);
    stream.write_all(WAITING)?;
    let mut heard = Vec::new();
    while !heard.ends_with(GO) {
        let mut bytes = [0; HEARD_MAX];
        let count = stream.read(&mut bytes)?;
        if count == 0 || heard.len() + count > HEARD_MAX {
            return Ok(None);
        }
        heard.extend_from_slice(&bytes[..count]);
    }
    Ok(String::from_utf8(heard).ok())
}

/// Does what was said, and tells what came of it.
fn obey(stream: &OwnedFd, text: &str) -> Result<(), String> {
    let evidence = renew(text)?;
    let told = stream.try_clone().and_then(|stream| File::from(stream).write_all(evidence.as_bytes()));
    told.map_err(|why| format!("tell: {why}"))
}

/// Does what was said; a line shows to whoever has said it that it is so.
pub fn renew(text: &str) -> Result<String, String> {
    for line in text.lines().filter(|line| *line != "go") {
        // The line holds what nobody else may know.
        let word = line.split('\t').next().unwrap_or_default();
        Step::parse(line)
            .and_then(|step| carry_out(&step).map_err(|errno| errno.to_string()))
            .map_err(|why| format!("renew {word}: {why}"))?;
    }
    evidence(Path::new(BOOT_ID)).map_err(|why| format!("evidence: {why}"))
}

/// The boot's id, random bytes, and the time.
fn evidence(boot_id: &Path) -> std::io::Result<String> {
    let boot_id = std::fs::read_to_string(boot_id)?;
    let mut sample = [0_u8; 16];
    getrandom(&mut sample, GetRandomFlags::empty())?;
    let sample: String = sample.iter().map(|byte| format!("{byte:02x}")).collect();
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    Ok(format!("renewed\t{}\t{sample}\t{tv_sec}.{tv_nsec:09}\n", boot_id.trim()))
}

/// Stirs these bytes, in hexadecimal, into the kernel's pool, and has what it draws from made anew.
pub fn stir(hex: &str) -> rustix::io::Result<()> {
    let bytes = from_hex(hex).ok_or(Errno::INVAL)?;
    let random = File::open(RANDOM).map_err(|error| sys::errno_of(&error))?;
    sys::add_entropy(&random, &bytes).map_err(|error| sys::errno_of(&error))
}

/// Writes a file that everybody may read.
pub fn fill(path: &str, hex: &str) -> rustix::io::Result<()> {
    let content = from_hex(hex).ok_or(Errno::INVAL)?;
    std::fs::write(path, content).map_err(|error| sys::errno_of(&error))
}

/// Sets the wall clock.
pub fn set_clock(tv_sec: i64, tv_nsec: i64) -> rustix::io::Result<()> {
    clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    // Rust's own reading of numbers takes a sign.
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_from_their_digits_or_not_at_all() {
        assert_eq!(from_hex("00ff7a"), Some(vec![0, 255, 0x7a]));
        for wrong in ["", "0", "0g", "+1", "ä"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_evidence_is_one_line_of_four_words() {
        let kernels = Path::new("/proc/sys/kernel/random/boot_id");
        let said = evidence(kernels).expect("said");
        let words: Vec<_> = said.trim_end().split('\t').collect();
        assert_eq!((words.len(), words[0], words[1].len(), words[2].len()), (4, "renewed", 36, 32));
        assert_ne!(evidence(kernels).expect("said"), said, "the sample is drawn anew");
    }
}
