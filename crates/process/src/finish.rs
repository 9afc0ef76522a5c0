//! A program that is run to its end, with its streams kept apart.

use std::io::{self, Read};
use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Program;

impl Program {
    /// Runs it to its end without input, with these variables and no others, and gives how it ended and what it printed,
    /// of which `output_max` bytes of each stream are taken; what prints more, or takes longer than this, is an error and
    /// is gone.
    pub fn finish(
        &self,
        variables: &[(&str, &str)],
        deadline: Duration,
        output_max: u64,
    ) -> io::Result<Finished> {
        let mut program = self.spawn_attended(variables)?;
        program.stdin = None;
        let until = Instant::now() + deadline;
        let stdout = read_apart(program.stdout.take(), output_max);
        let stderr = read_apart(program.stderr.take(), output_max);
        let heard = |stream: mpsc::Receiver<io::Result<Vec<u8>>>| {
            let left = until.saturating_duration_since(Instant::now());
            stream.recv_timeout(left).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        };
        let (stdout, stderr) = (heard(stdout)?, heard(stderr)?);
        // It has closed both, and may still not have ended.
        loop {
            if let Some(status) = program.has_ended()? {
                return Ok(Finished { status, stdout, stderr });
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::park_timeout(POLL);
        }
    }
}

/// Reads a stream to its end while others are read, and tells what that gave. Nobody may listen any more by then.
fn read_apart(
    stream: Option<impl io::Read + Send + 'static>,
    max: u64,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stream.map_or(Ok(0), |stream| stream.take(max + 1).read_to_end(&mut bytes));
        let read = read.and_then(|length| {
            let is_whole = u64::try_from(length).is_ok_and(|length| length <= max);
            is_whole
                .then_some(bytes)
                .ok_or_else(|| io::Error::other(format!("it prints more than {max} bytes")))
        });
        drop(said.send(read));
    });
    heard
}

/// How a program has ended, and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

/// How often a program is looked at that has closed its streams.
const POLL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_program_is_run_to_its_end_within_its_limits_and_its_streams_are_kept_apart() {
        let sh = |script: &str, deadline, max| {
            let program = Program::new(Path::new("/bin/sh")).expect("absolute");
            let program = program.argument("-c").argument(script);
            program.finish(&[("NAME", "value")], Duration::from_millis(deadline), max)
        };
        let said = sh("cat; echo out $NAME; echo err >&2; exit 3", 60_000, 100).expect("it ends");
        assert_eq!(
            (&*said.stdout, &*said.stderr, said.status.code()),
            (&b"out value\n"[..], &b"err\n"[..], Some(3))
        );
        for (script, deadline) in [("exec sleep 1000", 50), ("exec >&- 2>&-; exec sleep 1000", 50)] {
            assert_eq!(sh(script, deadline, 100).expect_err("it hangs").kind(), io::ErrorKind::TimedOut);
        }
        for script in ["exec cat /dev/zero", "exec cat /dev/zero >&2"] {
            let why = sh(script, 60_000, 100).expect_err("it prints without end").to_string();
            assert_eq!(why, "it prints more than 100 bytes");
        }
    }
}
