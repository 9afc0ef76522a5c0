//! One program that was started: its end, its output and its time, each with a deadline.

use std::io::{self, Read, Write as _};
use std::process::{ChildStdout, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use agentkernel_process::{Attended, Program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::target::ENVIRONMENT;
use crate::workload::Flood;

/// Most that is taken of one stream, bytes: the work says some dozen, and who works by orders some hundred for each.
const OUTPUT_MAX: u64 = 16 << 20;

/// How long a stream may stay open once everybody who had it is gone.
const STREAM_GRACE: Duration = Duration::from_secs(5);

/// A program that runs.
#[derive(Debug)]
pub struct Client {
    attended: Attended,
    process: OwnedFd,
    started: Instant,
    stdout: Stream,
    stderr: Stream,
}

/// A program that has ended.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// From before its spawn to after its exit.
    pub wall: Duration,
}

impl Client {
    /// Starts it; its input is open and empty.
    pub fn start(program: &Program) -> io::Result<Self> {
        Self::start_with(program, ENVIRONMENT)
    }

    /// Starts it with these variables.
    pub fn start_with(program: &Program, variables: &[(&str, &str)]) -> io::Result<Self> {
        Self::begin(program, variables, Stream::of)
    }

    /// Likewise one that says so much that none of it is kept: in its place is what was heard.
    pub fn start_flood(program: &Program, variables: &[(&str, &str)], flood: Flood) -> io::Result<Self> {
        Self::begin(program, variables, |stdout| Stream::compared(stdout, flood))
    }

    fn begin(
        program: &Program,
        variables: &[(&str, &str)],
        hear: impl FnOnce(Option<ChildStdout>) -> Stream,
    ) -> io::Result<Self> {
        let started = Instant::now();
        let mut attended = program.spawn_attended(variables)?;
        let process = open_process(attended.pid())?;
        let stdout = hear(attended.stdout.take());
        let stderr = Stream::of(attended.stderr.take());
        Ok(Self { attended, process, started, stdout, stderr })
    }

    /// Waits for a whole line of its output; `None` if none comes.
    pub fn first_line(&mut self, deadline: Duration) -> Option<String> {
        let has_line = |said: &[u8]| said.contains(&b'\n');
        self.stdout.hear_until(has_line, deadline);
        let said = String::from_utf8_lossy(&self.stdout.said).into_owned();
        said.split_once('\n').map(|(line, _)| line.to_owned())
    }

    /// Likewise, and takes the line out of what it has said.
    pub fn next_line(&mut self, deadline: Duration) -> Option<String> {
        let line = self.first_line(deadline)?;
        let end = self.stdout.said.iter().position(|byte| *byte == b'\n')?;
        self.stdout.said.drain(..=end);
        Some(line)
    }

    /// Tells it a line.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.attended.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{line}\n").as_bytes())
    }

    /// Ends its input, which some work waits for.
    pub fn close_input(&mut self) {
        drop(self.attended.stdin.take());
    }

    /// Waits until it ends; `None` if it does not.
    pub fn wait(&mut self, deadline: Duration) -> io::Result<Option<Ended>> {
        if !has_ended(&self.process, deadline)? {
            return Ok(None);
        }
        let status = self.attended.wait()?;
        Ok(Some(Ended { status, wall: self.started.elapsed() }))
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its process's number.
    pub fn pid(&self) -> u32 {
        self.attended.pid()
    }

    /// Its handle, to wait for.
    pub fn process(&self) -> &OwnedFd {
        &self.process
    }

    /// Asks it to end, unless it has ended.
    pub fn terminate(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.process, Signal::TERM) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            asked => Ok(asked?),
        }
    }

    /// Ends it now.
    pub fn kill(&mut self) -> io::Result<()> {
        self.attended.kill()?;
        self.attended.wait().map(drop)
    }

    /// What it complained of, once it has ended.
    pub fn complaint(&mut self) -> &[u8] {
        self.stderr.hear_until(|_| false, STREAM_GRACE);
        &self.stderr.said
    }

    /// All that it said on stdout and on stderr. Whoever may still hold these is to be gone already.
    pub fn output(mut self) -> (Vec<u8>, Vec<u8>) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            stream.hear_until(|_| false, STREAM_GRACE);
        }
        (self.stdout.said, self.stderr.said)
    }
}

/// Holds a process, so that its number cannot become another's.
pub fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Waits until the process has ended, or not.
pub fn has_ended(process: &OwnedFd, deadline: Duration) -> io::Result<bool> {
    let until = Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
}

/// What a program says on one stream, as far as it was heard.
#[derive(Debug)]
struct Stream {
    chunks: Receiver<Vec<u8>>,
    said: Vec<u8>,
}

impl Stream {
    /// Reads it in a thread, which ends with the stream.
    fn of(source: Option<impl Read + Send + 'static>) -> Self {
        let (say, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let Some(source) = source else { return };
            let mut source = source.take(OUTPUT_MAX);
            let mut chunk = vec![0; 64 << 10];
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                if say.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { chunks, said: Vec::new() }
    }

    /// Likewise, and says in the end what it was.
    fn compared(source: Option<ChildStdout>, flood: Flood) -> Self {
        let (say, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let Some(mut source) = source else { return };
            let heard = flood.heard(&mut source).unwrap_or_else(|why| format!("not to be read: {why}"));
            // Nobody hears it where the run has ended.
            drop(say.send(format!("{heard}\n").into_bytes()));
        });
        Self { chunks, said: Vec::new() }
    }

    fn hear_until(&mut self, enough: impl Fn(&[u8]) -> bool, deadline: Duration) {
        let until = Instant::now() + deadline;
        while !enough(&self.said) {
            let left = until.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.said.extend(chunk),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
