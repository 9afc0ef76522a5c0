//! The daemon in the background: started as a program of its own, and waited for until it can be reached.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use agentkernel_client::Connection;
use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::{Program, Staying};
use rustix::event::{Timespec, poll};

use super::Args;
use crate::environment::{self, Environment};
use crate::errors::{self, Failure};

/// The log in the daemon's folder.
const LOG: &str = "daemon.log";
/// Whoever starts a daemon has this file locked meanwhile.
const TURN: &str = "daemon.starting";
/// A log that is longer is begun anew.
const LOG_MAX: u64 = 16 << 20;
/// How much of its end is looked at for what went wrong.
const LOG_TAIL: u64 = 4096;

/// How long the daemon may take until it can be reached: it may have to get back hundreds of sandboxes.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How it begins to say that it listens on TCP.
const TCP: &str = "listening on http://";
/// How often it is looked for.
const LOOK_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Starts the daemon with these words, and returns once it can be reached.
pub fn start(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let socket = environment.socket();
    if let Some(Started { pid, log_begin }) = spawn(&words(args), environment)? {
        errors::say(&format!("daemon {pid} listens on {}", socket.display()));
        if args.tcp.is_some() {
            tell_tcp(&environment.daemon_home().join(LOG), log_begin);
        }
        return Ok(0);
    }
    let why = "a daemon listens there already";
    let error = Error::new(ErrorKind::Host, "start the daemon", why).on(socket.display());
    Err(error
        .hint("use that one, end it with agentkernel shutdown, or set AGENTKERNEL_HOME to another folder")
        .into())
}

/// A daemon that was started.
struct Started {
    pid: u32,
    /// Where its part of the log begins.
    log_begin: u64,
}

/// Says where on TCP it listens, and for whom, as it does in its log at about the time when it can be reached.
fn tell_tcp(log: &Path, begin: u64) {
    let began = Instant::now();
    while began.elapsed() < START_DEADLINE {
        if let Some(line) = said(log, begin).into_iter().find(|line| line.starts_with(TCP)) {
            return errors::say(&line);
        }
        look_later();
    }
}

/// Starts a daemon as it is by default, unless there is one, or another one was named.
pub fn start_if_missing(environment: &Environment) -> Result<(), Failure> {
    if !environment.is_daemon_named() && Connection::unix(&environment.socket()).is_err() {
        spawn(&[], environment)?;
    }
    Ok(())
}

/// What was typed, for the program in the background.
fn words(args: &Args) -> Vec<String> {
    let named = [
        ("--tcp", args.tcp.map(|address| address.to_string())),
        ("--pool", args.pool.map(|size| format!("{}..{}", size.low, size.high))),
        ("--sandboxes", args.sandboxes.map(|count| count.to_string())),
        ("--drain-timeout", args.drain_timeout.map(|time| format!("{}ms", time.as_millis()))),
    ];
    named.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
}

/// Starts a daemon; `None` if there is one. Whoever wants to do the same at the same time waits for us.
fn spawn(words: &[String], environment: &Environment) -> Result<Option<Started>> {
    let home = environment.daemon_home();
    let failed = |why: io::Error| Error::new(ErrorKind::Host, "start the daemon", why).on(home.display());
    let hint = "look whether its disk is full or read-only, or set AGENTKERNEL_HOME to a folder of your own";
    let _turn = take_turn(&home).map_err(|why| failed(why).hint(hint))?;
    if Connection::unix(&environment.socket()).is_ok() {
        return Ok(None);
    }
    let path = home.join(LOG);
    let log = open_log(&path).map_err(failed)?;
    let log_begin = log.metadata().map_err(failed)?.len();
    let program = Program::new(&environment::program().map_err(failed)?).map_err(failed)?;
    let program = program.argument("serve").argument("--background");
    let program = words.iter().fold(program, |program, word| program.argument(word));
    let mut daemon = program.spawn_to_stay(&environment.for_daemon(), &log).map_err(failed)?;
    wait(&mut daemon, environment, &path, log_begin)?;
    Ok(Some(Started { pid: daemon.pid(), log_begin }))
}

/// The right to start a daemon in this folder, until it is dropped.
fn take_turn(home: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
    let turn = File::options().create(true).append(true).mode(0o600).open(home.join(TURN))?;
    let began = Instant::now();
    loop {
        match turn.try_lock() {
            Ok(()) => return Ok(turn),
            Err(TryLockError::WouldBlock) if began.elapsed() < START_DEADLINE => look_later(),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("somebody else is starting one, and does not end"));
            }
            Err(TryLockError::Error(why)) => return Err(why),
        }
    }
}

fn look_later() {
    // Being woken early by a signal is as good.
    poll(&mut [], Some(&LOOK_INTERVAL)).ok();
}

fn open_log(path: &Path) -> io::Result<File> {
    let is_long = fs::metadata(path).is_ok_and(|facts| facts.len() > LOG_MAX);
    let log = File::options().create(true).append(true).mode(0o600).open(path)?;
    if is_long {
        log.set_len(0)?;
    }
    Ok(log)
}

/// Waits until the daemon can be reached.
fn wait(daemon: &mut Staying, environment: &Environment, log: &Path, begin: u64) -> Result<()> {
    let socket = environment.socket();
    let began = Instant::now();
    let failed = |why: String| {
        let hint = format!("its log is {}", log.display());
        Error::new(ErrorKind::Host, "start the daemon", why).on(socket.display()).hint(hint)
    };
    loop {
        if Connection::unix(&socket).is_ok() {
            return Ok(());
        }
        if daemon.has_ended().map_err(|why| failed(why.to_string()))? {
            return Err(failed(last_words(log, begin)));
        }
        if began.elapsed() > START_DEADLINE {
            return Err(failed(format!("it cannot be reached after {START_DEADLINE:?}")));
        }
        look_later();
    }
}

/// Why the daemon ended, as its log says.
fn last_words(log: &Path, begin: u64) -> String {
    said(log, begin).pop().map_or_else(
        || "it ended at once, and wrote nothing into its log: is the disk full?".to_owned(),
        |said| format!("it ended at once: {said}"),
    )
}

/// What the daemon has said in its log beyond what it logs; nothing if that cannot be read.
fn said(log: &Path, begin: u64) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut log = File::open(log)?;
        let end = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(begin.max(end.saturating_sub(LOG_TAIL))))?;
        let mut bytes = Vec::new();
        log.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    // A line that is being written is none yet.
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.filter_map(|line| line.strip_prefix("agentkernel: ")).map(str::to_owned).collect()
}
