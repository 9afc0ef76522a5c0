//! A running VMM: a child that ends with the thread that holds it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc;

use agentkernel_process::Program;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::log::Log;

/// A VMM that runs, or has run. Dropping it kills it; its holder, a thread, waits for it in any case.
#[derive(Debug)]
pub(crate) struct Vmm {
    pid: Pid,
    /// Names the process, and no other that gets its number later.
    process: OwnedFd,
    pub(crate) log: Log,
    ended: watch::Receiver<Option<String>>,
}

impl Vmm {
    /// Starts `program` with these words. `setpriv` takes every right from it first, and has the kernel kill it when its
    /// holder ends: however we end, it does.
    pub(crate) fn start(setpriv: &Path, program: &Path, words: &[String]) -> io::Result<Self> {
        let line = ["--pdeathsig", "KILL", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"];
        let begin = Program::new(setpriv)?;
        let begin = line.iter().fold(begin, |program, word| program.argument(word));
        let begin = begin.argument("--").argument(&program.display().to_string());
        let command = words.iter().fold(begin, |program, word| program.argument(word));
        let (started, heard) = mpsc::channel();
        let (end, ended) = watch::channel(None);
        let log = Log::default();
        let held = log.clone();
        // The kernel takes the end of the thread that started it for the parent's death.
        std::thread::Builder::new()
            .name("ak-vmm".into())
            .spawn(move || hold(&command, &held, &started, &end))?;
        let (pid, process) = heard.recv().map_err(io::Error::other)??;
        Ok(Self { pid, process, log, ended })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended, and how.
    pub(crate) fn has_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits until it has ended and was waited for; says how.
    pub(crate) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await.map(|how| how.clone());
        ended.ok().flatten().unwrap_or_else(|| "has ended".into())
    }

    /// Ends it now. It is no error that it has ended.
    pub(crate) fn kill(&self) {
        pidfd_send_signal(&self.process, Signal::KILL).ok();
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.kill();
    }
}

type Started = io::Result<(Pid, OwnedFd)>;

/// Starts it, hears what it says, and waits for it.
fn hold(command: &Program, log: &Log, started: &mpsc::Sender<Started>, end: &watch::Sender<Option<String>>) {
    let mut child = match command.spawn_attended(&[]) {
        Ok(child) => child,
        Err(why) => {
            // Whoever asked waits for it.
            started.send(Err(why)).ok();
            return;
        }
    };
    drop(child.stdin.take());
    let pid = i32::try_from(child.pid()).ok().and_then(Pid::from_raw);
    let process = pid.ok_or_else(|| io::Error::other("it has no PID"));
    let process = process.and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::empty())?)));
    if started.send(process).is_err() {
        return; // nobody wants it any more, and dropping it ends it
    }
    let out = child.stdout.take().and_then(|out| log.hear(out).ok());
    let err = child.stderr.take().and_then(|err| log.hear(err).ok());
    let status = child.wait();
    for words in [out, err].into_iter().flatten() {
        // It has said all; a thread that panicked has heard less.
        words.join().ok();
    }
    end.send_replace(Some(describe(status)));
}

fn describe(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|why| format!("cannot be waited for: {why}"), |status| format!("ended with {status}"))
}
