//! A command with all its descendants, as one thing that can be killed and waited for.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child as Keeper, Command};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use agentkernel_core::{ExitStatus, Exited, SignalTarget, Usage};
use tokio::sync::watch;

use super::keeper::{self, Child, Message};

/// A running command and everything that it started.
#[derive(Debug)]
pub struct Tree {
    pid: i32,
    link: UnixStream,
    exited: watch::Receiver<Option<Exited>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

impl Tree {
    /// Starts the command. Blocks until it has been executed.
    pub fn start(mut command: Command, child: Child, timeout: Option<Duration>) -> io::Result<Self> {
        let (link, theirs) = UnixStream::pair()?;
        keeper::install(&mut command, theirs.into(), child);
        let started = Instant::now();
        let keeper = command.spawn()?;
        drop(command); // and with it our copies of the command's ends of everything
        let Message::Started(pid) = Message::read(&link)? else {
            return Err(io::Error::other("the keeper speaks out of turn"));
        };
        let (sender, exited) = watch::channel(None);
        let watch = Watch { keeper, link: link.try_clone()?, started, timeout, sender };
        let watcher = thread::Builder::new().name("fake-tree".into()).spawn(move || watch.until_gone())?;
        Ok(Self { pid, link, exited, watcher: Mutex::new(Some(watcher)) })
    }

    /// The command's PID, which is also that of its group and session.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// How the command ended, if it has.
    pub fn has_exited(&self) -> Option<Exited> {
        *self.exited.borrow()
    }

    /// Waits until the command has ended.
    pub async fn exited(&self) -> Option<Exited> {
        let mut exited = self.exited.clone();
        exited.wait_for(Option::is_some).await.ok().and_then(|exited| *exited)
    }

    /// Sends the command or its group a signal, if it still runs.
    pub fn signal(&self, number: u8, target: SignalTarget) {
        if self.has_exited().is_none() {
            let pid = if target == SignalTarget::Group { -self.pid } else { self.pid };
            // SAFETY: no pointers. Until its end is told the PID belongs to the command.
            unsafe { libc::kill(pid, number.into()) };
        }
    }

    /// Has everything killed. Does not wait.
    pub fn kill(&self) {
        // Fails only where the keeper has gone already, and its tree with it.
        drop(self.link.shutdown(Shutdown::Write));
    }

    /// Waits, blocking, until nothing of it is left.
    pub fn join(&self) {
        let watcher = self.watcher.lock().map(|mut watcher| watcher.take());
        if let Ok(Some(watcher)) = watcher {
            drop(watcher.join()); // its panic has been printed
        }
    }
}

/// The thread that listens to the keeper.
struct Watch {
    keeper: Keeper,
    link: UnixStream,
    started: Instant,
    timeout: Option<Duration>,
    sender: watch::Sender<Option<Exited>>,
}

impl Watch {
    fn until_gone(mut self) {
        let mut exited = None;
        let mut timed_out = false;
        loop {
            let remaining = self.timeout.map(|limit| limit.saturating_sub(self.started.elapsed()));
            // Zero would mean to wait for ever.
            let patience = remaining.map(|time| time.max(Duration::from_millis(1)));
            drop(self.link.set_read_timeout(patience));
            match Message::read(&self.link) {
                Ok(message) => exited = self.ended(&message, timed_out),
                Err(error) if is_timeout(&error) => {
                    timed_out = true;
                    drop(self.link.shutdown(Shutdown::Write));
                }
                Err(_) => break,
            }
            // A command that has ended in time keeps what it left running; one whose time was up is
            // told of only when its whole tree is gone.
            if exited.is_some() && !timed_out {
                self.sender.send_replace(exited);
            }
            if exited.is_some() || timed_out {
                self.timeout = None;
            }
        }
        drop(self.keeper.wait());
        self.sender.send_replace(exited);
    }

    fn ended(&self, message: &Message, timed_out: bool) -> Option<Exited> {
        let Message::Ended { status, user_us, system_us, max_rss_kib } = *message else { return None };
        let usage = Usage {
            user: Duration::from_micros(user_us),
            system: Duration::from_micros(system_us),
            max_rss_kib,
            wall: self.started.elapsed(),
        };
        Some(Exited { status: exit_status(status), timed_out, usage })
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn exit_status(raw: i32) -> ExitStatus {
    let status = std::process::ExitStatus::from_raw(raw);
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(byte(code)),
        (None, signal) => ExitStatus::Signal(byte(signal.unwrap_or_default())),
    }
}
