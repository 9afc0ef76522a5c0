//! A terminal of the user's becomes a terminal of the command's.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use agentkernel_testkit::Finished;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{DEADLINE, Trial, comes_true};

/// The user's side of a terminal, with the program on the other one.
pub struct Terminal {
    user: File,
    /// The program's side, kept open so that its settings can be read after the program's end.
    program_side: OwnedFd,
    child: Child,
    said: String,
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Runs the program on a terminal of 30 × 100 that is its controlling one.
    fn open(trial: &Trial, flags: &[&str], script: &str) -> Self {
        Self::of(trial.sh_command(flags, script))
    }

    /// The same for any command.
    pub fn of(mut command: std::process::Command) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pty");
        grantpt(&user).expect("grant");
        unlockpt(&user).expect("unlock");
        let path = ptsname(&user, Vec::new()).expect("name");
        let flags_open = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program_side = rustix::fs::open(&*path, flags_open, Mode::empty()).expect("open");
        tcsetwinsize(&user, size(30, 100)).expect("size");
        let stdio = || Stdio::from(program_side.try_clone().expect("clone"));
        command.env("TERM", "xterm").stdin(stdio()).stdout(stdio()).stderr(stdio());
        // SAFETY: both calls are system calls and nothing else.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                Ok(ioctl_tiocsctty(rustix::stdio::stdin())?)
            });
        }
        let child = command.spawn().expect("start");
        Self { user: File::from(user), program_side, child, said: String::new() }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).expect("type");
    }

    /// Reads until the terminal has shown `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Timespec::try_from(Duration::from_secs(20)).expect("a short time");
        while !self.said.contains(text) {
            let readable =
                poll(&mut [PollFd::new(&self.user, PollFlags::IN)], Some(&deadline)).expect("poll");
            assert!(readable > 0, "no {text:?} in {:?}", self.said);
            let mut bytes = [0; 4096];
            let length = self.user.read(&mut bytes).expect("read");
            self.said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        let end = self.said.find(text).unwrap_or_default() + text.len();
        self.said.drain(..end);
    }

    /// Whether the terminal passes lines on, as it does outside of raw mode.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(self.program_side.as_fd()).expect("attributes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the end of the program, which must have restored the terminal.
    #[track_caller]
    pub fn assert_ends_with(self, code: i32) {
        let Self { child, program_side, user, said } = self;
        let finished = Finished::wait(format!("on a terminal: {said}"), child, DEADLINE).assert_code(code);
        let modes = tcgetattr(program_side.as_fd()).expect("attributes").local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            "the terminal is still raw: {finished:?}"
        );
        drop(user);
    }
}

#[test]
fn the_command_has_a_terminal_of_the_same_size_that_follows_the_users() {
    let Some(trial) = Trial::booting() else { return };
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size; trap 'stty size' WINCH; \
                  echo waiting; while :; do sleep 0.1; done";
    let mut terminal = Terminal::open(&trial, &["-it"], script);
    terminal.wait_for("30 100\r\n");
    terminal.wait_for("waiting\r\n");
    tcsetwinsize(&terminal.user, size(40, 120)).expect("resize");
    terminal.wait_for("40 120\r\n");
    terminal.type_in("\x03");
    terminal.assert_ends_with(130);
    trial.assert_nothing_left();
}

#[test]
fn keys_reach_the_command_and_ctrl_c_is_one_of_them() {
    let Some(trial) = Trial::booting() else { return };
    // A shell that is about to start something long would tell of its trap only when that has ended.
    let script =
        "trap 'echo interrupted; exit 7' INT; read -r line; echo \"<$line>\"; while :; do sleep 0.1; done";
    let mut terminal = Terminal::open(&trial, &["-it"], script);
    terminal.type_in("some words\r");
    terminal.wait_for("<some words>\r\n");
    assert!(!terminal.is_cooked(), "keys are passed on one by one");
    terminal.type_in("\x03");
    terminal.wait_for("interrupted\r\n");
    terminal.assert_ends_with(7);
}

#[test]
fn the_terminal_is_restored_when_the_program_is_told_to_end() {
    let Some(trial) = Trial::booting() else { return };
    for signal in [Signal::TERM, Signal::HUP] {
        let mut terminal = Terminal::open(&trial, &["-it"], "echo rea''dy; exec sleep 60");
        terminal.wait_for("ready\r\n");
        kill_process(Pid::from_child(&terminal.child), signal).expect("it lives");
        terminal.assert_ends_with(128 + signal.as_raw());
    }
    trial.assert_nothing_left();
}

#[test]
fn the_terminal_is_restored_when_the_command_cannot_be_run() {
    let Some(trial) = Trial::booting() else { return };
    let mut terminal = Terminal::open(&trial, &["-it", "-w", "/no/such/folder"], "true");
    // Cooked again before anything is said: the line ends as lines of the terminal do.
    terminal.wait_for("agentkernel: ");
    terminal.wait_for("\r\nhint: ");
    terminal.assert_ends_with(125);
}

#[test]
fn ctrl_c_without_t_interrupts_the_command() {
    let Some(trial) = Trial::booting() else { return };
    let mut terminal = Terminal::open(&trial, &["-i"], "echo rea''dy; exec sleep 60");
    terminal.wait_for("ready\r\n");
    assert!(terminal.is_cooked());
    terminal.type_in("\x03");
    terminal.assert_ends_with(130);
    trial.assert_nothing_left();
}

#[test]
fn a_terminal_that_vanishes_ends_the_sandbox() {
    let Some(trial) = Trial::booting() else { return };
    let mut terminal =
        Terminal::open(&trial, &["-it"], "trap '' HUP; echo rea''dy; while :; do sleep 0.1; done");
    terminal.wait_for("ready\r\n");
    let Terminal { user, program_side, child, .. } = terminal;
    drop((user, program_side));
    let finished = Finished::wait("on a terminal that vanished".into(), child, DEADLINE);
    assert_ne!(finished.status.code(), Some(0));
    trial.assert_nothing_left();
}

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a PID")).expect("not zero")
}

/// A process that was stopped, and goes on when this is dropped.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}

/// Stops the zygote of a program that has just been started. `None` if that came too late.
fn stop_zygote(program: u32) -> Option<Stopped> {
    // Without a pause: the zygote lives for milliseconds before it takes its order.
    let began = Instant::now();
    let zygote = loop {
        match children(program).first() {
            Some(zygote) => break *zygote,
            None if began.elapsed() > DEADLINE => return None,
            None => {}
        }
    };
    kill_process(pid(zygote), Signal::STOP).ok()?;
    let stopped = Stopped(pid(zygote));
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{zygote}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T"))
    };
    // With a child, it has taken the order already.
    let in_time = comes_true(Duration::from_secs(1), is_stopped) && children(zygote).is_empty();
    in_time.then_some(stopped)
}

#[test]
fn a_boot_that_takes_long_shows_a_sign_of_life_and_wipes_it_away() {
    let Some(trial) = Trial::alone() else { return };
    for _attempt in 0..20 {
        let mut terminal = Terminal::open(&trial, &[], "echo the out''put");
        let Some(zygote) = stop_zygote(terminal.child.id()) else {
            terminal.assert_ends_with(0);
            continue;
        };
        terminal.wait_for("booting the sandbox");
        drop(zygote);
        terminal.wait_for("\r\x1b[2Kthe output\r\n");
        return terminal.assert_ends_with(0);
    }
    panic!("no attempt was quick enough to stop the zygote before it had booted");
}
