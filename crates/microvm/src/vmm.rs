//! A running VMM: a child that ends with the thread that holds it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::Duration;

use agentkernel_process::Program;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::log::Log;
use crate::plan::{FOLDER_FD, KERNEL_FD, ROOT_FD, SNAPSHOT_FD};

/// How long the kernel may take to end one that it has killed.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(20);

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
    /// Starts it.
    pub(crate) fn start(launch: &Launch<'_>, words: &[String]) -> io::Result<Self> {
        let command = launch.command(words)?;
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

    /// Its end, for whoever does not hold it.
    pub(crate) fn end(&self) -> End {
        End { ended: self.ended.clone(), log: self.log.clone() }
    }

    /// Ends it now. It is no error that it has ended.
    pub(crate) fn kill(&self) {
        pidfd_send_signal(&self.process, Signal::KILL).ok();
    }
}

/// The end of a VMM that somebody else holds, or has held.
pub(crate) struct End {
    ended: watch::Receiver<Option<String>>,
    log: Log,
}

impl End {
    /// Waits for the end of one that was killed, not for ever; then it has said all. Its last words, behind a colon.
    pub(crate) async fn last_words(mut self) -> String {
        drop(timeout(KILL_DEADLINE, self.ended.wait_for(Option::is_some)).await);
        self.log.last_lines()
    }
}

/// How a VMM is started.
pub(crate) struct Launch<'a> {
    pub(crate) setpriv: &'a Path,
    pub(crate) program: &'a Path,
    /// Becomes its descriptors, from [`KERNEL_FD`] on: the kernel, the root device, the folder.
    pub(crate) given: [&'a Path; 3],
    /// What it continues from becomes the descriptor [`SNAPSHOT_FD`].
    pub(crate) snapshot: Option<&'a Path>,
    /// As whom it runs, if not as us.
    pub(crate) user: Option<u32>,
    /// The group whose members may use the processor's virtualisation, if it is used.
    pub(crate) group: Option<u32>,
}

impl Launch<'_> {
    /// A shell opens what it is given; then `setpriv` takes every right from it, and has the kernel kill it when its holder
    /// ends: however we end, it does.
    fn command(&self, words: &[String]) -> io::Result<Program> {
        let way = self.snapshot.map_or(String::new(), |_| format!("{SNAPSHOT_FD}<\"$4\""));
        let snapshot = self.snapshot.unwrap_or(Path::new(""));
        let script = format!(
            "exec {KERNEL_FD}<\"$1\" {ROOT_FD}<\"$2\" {FOLDER_FD}<\"$3\" {way} || exit; shift 4; exec \"$@\""
        );
        let mut all = vec!["-c".to_owned(), script, "sh".into()];
        all.extend(self.given.into_iter().chain([snapshot]).map(|path| path.display().to_string()));
        all.push(self.setpriv.display().to_string());
        let rights = ["--pdeathsig", "KILL", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"];
        all.extend(rights.map(str::to_owned));
        if let Some(user) = self.user {
            all.extend([format!("--reuid={user}"), format!("--regid={user}")]);
            all.push(self.group.map_or("--clear-groups".into(), |group| format!("--groups={group}")));
        }
        all.extend(["--".into(), self.program.display().to_string()]);
        let shell = Program::new(Path::new("/bin/sh"))?;
        Ok(all.iter().chain(words).fold(shell, |program, word| program.argument(word)))
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
