//! The agent of a machine whose kernel hands it calls instead of a stream (Hyperlight with Unikraft): each call is one
//! command, run to its end.
//!
//! ```text
//! host: call(command) ──▶ /dev/hlcall ──▶ the command, with pipes for its streams
//!       in()  ◀── asked for stdin         out(bytes), err(bytes) ◀── what it writes
//!       result ◀── how it ended
//! ```
//!
//! Calls carry text alone, so that bytes travel as hexadecimal digits. The machine has one processor, and whoever computes
//! has it: while the command does, nobody asks for its stdin.

mod order;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use agentkernel_hypercalls::{CHUNK, Device, bytes, digits, host};
use order::Order;

/// How long nobody looks whether there is stdin, or whether the command has ended and left its streams to others.
const LOOK_MS: i64 = 5;

/// The same where there is no stdin to be had.
const LOOK_SELDOM_MS: i64 = 50;

/// Serves calls for ever; returns only when the device fails.
pub fn serve() -> Result<i32, String> {
    let device = Device::open().map_err(|why| format!("/dev/hlcall: {why}"))?;
    let mut buffer = device.buffer();
    loop {
        let call = device.next(&mut buffer).map_err(|why| format!("/dev/hlcall: {why}"))?;
        let Some(call) = call else { continue };
        let result = match Order::parse(&call.text) {
            Some(order) => run(&device, &order),
            None => "garbled".to_owned(),
        };
        device.answer(&result).map_err(|why| format!("/dev/hlcall: {why}"))?;
    }
}

/// Runs a command and says how it ended: `exit CODE`, `signal NUMBER`, or `refused ERRNO PATH` if it did not start.
fn run(device: &Device, order: &Order) -> String {
    let program = match order.program() {
        Ok(program) => program,
        Err(order::NoProgram::Missing(errno, path)) => return format!("refused {errno} {}", path.display()),
        Err(order::NoProgram::Garbled) => return format!("refused {}", libc::ENOEXEC),
        Err(order::NoProgram::FixedAddress) => return "fixed-address".to_owned(),
    };
    // The machine serves one command. Done here, since a child that has to change its folder itself is made by `fork`, and
    // this kernel has only `vfork`.
    let entered = std::env::set_current_dir(&order.cwd);
    // Said before it is true: once it computes, nobody else in the machine is asked. What could be wrong was looked at.
    let ready = entered.and_then(|()| device.call(host::STARTED, ""));
    let child = match ready.and_then(|_| start(&program, order)) {
        Ok(child) => child,
        Err(why) => return format!("refused {} {}", why.raw_os_error().unwrap_or(0), order.cwd.display()),
    };
    match follow(device, child, order.has_stdin) {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(number)) => format!("signal {number}"),
            (None, None) => "garbled".to_owned(),
        },
        Err(why) => format!("lost {why}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "commands of the sandbox are spawned by its agent")]
fn start(program: &order::Program, order: &Order) -> io::Result<Child> {
    let streams = || Stdio::piped();
    Command::new(&program.path)
        .arg0(&program.argv[0])
        .args(&program.argv[1..])
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .stdin(if order.has_stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(streams())
        .stderr(streams())
        .spawn()
}

/// Passes its streams on until it has ended.
fn follow(device: &Device, mut child: Child, has_stdin: bool) -> io::Result<ExitStatus> {
    let mut stdin = Input::new(child.stdin.take())?;
    let mut outputs = [
        (host::STDOUT, child.stdout.take().map(Pipe::Out)),
        (host::STDERR, child.stderr.take().map(Pipe::Err)),
    ];
    for (_, pipe) in &outputs {
        if let Some(pipe) = pipe {
            set_nonblocking(pipe.fd())?;
        }
    }
    loop {
        stdin.feed(device)?;
        let ended = child.try_wait()?;
        let mut moved = false;
        for (name, slot) in &mut outputs {
            moved |= pass_on(device, name, slot)?;
        }
        match ended {
            Some(status) if !moved => return Ok(status),
            _ if moved => {}
            _ => wait(&outputs, if has_stdin && stdin.is_open() { LOOK_MS } else { LOOK_SELDOM_MS })?,
        }
    }
}

/// One of its outputs.
enum Pipe {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

impl Pipe {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Out(pipe) => pipe.as_fd(),
            Self::Err(pipe) => pipe.as_fd(),
        }
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Out(pipe) => pipe.read(chunk),
            Self::Err(pipe) => pipe.read(chunk),
        }
    }
}

/// Hands over what is there of one output; whether anything was.
fn pass_on(device: &Device, name: &str, slot: &mut Option<Pipe>) -> io::Result<bool> {
    let Some(pipe) = slot else { return Ok(false) };
    let mut chunk = [0; CHUNK];
    match pipe.read(&mut chunk) {
        Ok(0) => *slot = None,
        Ok(count) => {
            device.call(name, &digits(&chunk[..count]))?;
            return Ok(true);
        }
        Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(why) => return Err(why),
    }
    Ok(false)
}

fn wait(outputs: &[(&str, Option<Pipe>)], most_ms: i64) -> io::Result<()> {
    let pipes = outputs.iter().filter_map(|(_, pipe)| pipe.as_ref());
    let mut waiting: Vec<_> = pipes.map(|pipe| PollFd::from_borrowed_fd(pipe.fd(), PollFlags::IN)).collect();
    let most = Timespec { tv_sec: 0, tv_nsec: most_ms * 1_000_000 };
    match poll(&mut waiting, Some(&most)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

fn set_nonblocking(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Its stdin, asked for piece by piece.
struct Input {
    pipe: Option<ChildStdin>,
    pending: Vec<u8>,
    is_all: bool,
}

impl Input {
    fn new(pipe: Option<ChildStdin>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            set_nonblocking(pipe.as_fd())?;
        }
        Ok(Self { pipe, pending: Vec::new(), is_all: false })
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Asks for more once it has written what it had.
    fn feed(&mut self, device: &Device) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        if self.pending.is_empty() && !self.is_all {
            match device.call(host::STDIN, "0")?.as_slice() {
                end if end == host::END.as_bytes() => self.is_all = true,
                digits => self.pending = bytes(digits).unwrap_or_default(),
            }
        }
        if !self.pending.is_empty() {
            match pipe.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // It does not read any more.
                Err(_) => (self.is_all, self.pending) = (true, Vec::new()),
            }
        }
        if self.is_all && self.pending.is_empty() {
            self.pipe = None;
        }
        Ok(())
    }
}
