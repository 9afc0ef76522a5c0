//! A running VMM: a child that ends with the thread that holds it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use agentkernel_core::SandboxName;
use agentkernel_process::Program;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::backend::Holdings;
use crate::group::{VmmGroup, file_max};
use crate::log::Log;
use crate::plan::{FOLDER_FD, KERNEL_FD, ROOT_FD, SNAPSHOT_FD, VmPlan};

/// How long the kernel may take to end one that it has killed.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// A VMM that runs, or has run. Dropping it kills it; its holder, a thread, waits for it in any case.
#[derive(Debug)]
pub(crate) struct Vmm {
    pid: Pid,
    /// The process that is the machine, where it is another: in a jail it is below the one that we have started.
    worker: OnceLock<Pid>,
    /// Names the process, and no other that gets its number later.
    process: OwnedFd,
    pub(crate) log: Log,
    ended: watch::Receiver<Option<String>>,
}

impl Vmm {
    /// Starts it, in its group if it has one. What the machine holds is given up no sooner than it has ended.
    pub(crate) fn start(launch: &Launch<'_>, plan: &VmPlan, holdings: &Arc<Holdings>) -> io::Result<Self> {
        let command = launch.command(plan, holdings.group())?;
        let holdings = Arc::clone(holdings);
        let (started, heard) = mpsc::channel();
        let (end, ended) = watch::channel(None);
        let log = Log::default();
        let held = log.clone();
        // The kernel takes the end of the thread that started it for the parent's death.
        std::thread::Builder::new()
            .name("ak-vmm".into())
            .spawn(move || hold(&command, holdings, &held, &started, &end))?;
        let (pid, process) = heard.recv().map_err(io::Error::other)??;
        Ok(Self { pid, worker: OnceLock::new(), process, log, ended })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The process that is the machine.
    pub(crate) fn worker(&self) -> Pid {
        self.worker.get().copied().unwrap_or(self.pid)
    }

    /// Says which process that is.
    pub(crate) fn is_worked_by(&self, worker: Pid) {
        self.worker.get_or_init(|| worker);
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
pub(crate) enum Launch<'a> {
    /// With descriptors, and without a right.
    Given(Given<'a>),
    /// Locked in by Firecracker's jailer.
    Jailed(Jailed<'a>),
}

/// A process that writes 0 to a file of a group is in it, and so are all that come of it.
const ENTER: &str = "while [ \"$1\" != -- ]; do echo 0 >\"$1\" || exit; shift; done; shift; ";

/// A VMM that is given descriptors for what it may not look for.
pub(crate) struct Given<'a> {
    pub(crate) setpriv: &'a Path,
    pub(crate) program: &'a Path,
    /// Becomes its descriptors, from [`KERNEL_FD`] on: the kernel, the root device, the folder.
    pub(crate) given: [&'a Path; 3],
    /// What it continues from becomes the descriptors from [`SNAPSHOT_FD`] on.
    pub(crate) snapshot: &'a [PathBuf],
    /// As whom it runs, if not as us.
    pub(crate) user: Option<u32>,
    /// The group whose members may use the processor's virtualisation, if it is used.
    pub(crate) group: Option<u32>,
}

/// A VMM in a jail, which is there already.
pub(crate) struct Jailed<'a> {
    pub(crate) setpriv: &'a Path,
    pub(crate) unshare: &'a Path,
    pub(crate) jailer: &'a Path,
    pub(crate) program: &'a Path,
    /// Below this, and the program's name, is the machine's folder.
    pub(crate) base: &'a Path,
    pub(crate) name: &'a SandboxName,
    pub(crate) user: u32,
}

impl Launch<'_> {
    /// A shell limits itself, and then begins.
    fn command(&self, plan: &VmPlan, group: Option<&VmmGroup>) -> io::Result<Program> {
        let (script, words) = match self {
            Self::Given(given) => given.words(),
            Self::Jailed(jailed) => jailed.words(),
        };
        // Blocks of 512 bytes, as POSIX has them.
        let limits = format!("ulimit -c 0 && ulimit -f {} || exit; ", file_max(plan) / 512);
        let mut all = vec!["-c".to_owned(), format!("{limits}{ENTER}{script}"), "sh".into()];
        let entrances = group.map(VmmGroup::entrances).unwrap_or_default();
        all.extend(entrances.iter().map(|path| path.display().to_string()));
        all.push("--".into());
        let shell = Program::new(Path::new("/bin/sh"))?;
        Ok(all.iter().chain(&words).chain(&plan.argv()).fold(shell, |program, word| program.argument(word)))
    }
}

impl Given<'_> {
    /// The shell opens what it is given; then `setpriv` takes every right from it, and has the kernel kill it when its holder
    /// ends: however we end, it does.
    fn words(&self) -> (String, Vec<String>) {
        let opened: String = (0..self.snapshot.len())
            .map(|at| format!(" {}<\"${}\"", usize::from(SNAPSHOT_FD) + at, 4 + at))
            .collect();
        let count = self.given.len() + self.snapshot.len();
        let script = format!(
            "exec {KERNEL_FD}<\"$1\" {ROOT_FD}<\"$2\" {FOLDER_FD}<\"$3\"{opened} || exit; shift {count}; exec \"$@\""
        );
        let paths = self.given.into_iter().chain(self.snapshot.iter().map(PathBuf::as_path));
        let mut all: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        all.extend([self.setpriv.display().to_string(), "--pdeathsig".into(), "KILL".into()]);
        let rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"];
        all.extend(rights.map(str::to_owned));
        if let Some(user) = self.user {
            all.extend([format!("--reuid={user}"), format!("--regid={user}")]);
            all.push(self.group.map_or("--clear-groups".into(), |group| format!("--groups={group}")));
        }
        all.extend(["--".into(), self.program.display().to_string()]);
        (script, all)
    }
}

impl Jailed<'_> {
    /// The jailer changes the user, by which the kernel forgets whose death is to be its: so it runs in a PID namespace whose first
    /// process is a shell that keeps its user. The kernel kills `unshare` when its holder ends, the shell when `unshare` does, and
    /// with the shell all that is in the namespace.
    fn words(&self) -> (String, Vec<String>) {
        let path = |path: &Path| path.display().to_string();
        let kept = "setpriv=$1; shift; exec \"$setpriv\" --pdeathsig KILL -- \"$@\"";
        // Not its last word, or the shell would be replaced by it.
        let first = "\"$@\"; exit $?";
        let mut all = vec![path(self.setpriv), path(self.unshare)];
        let apart = [
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child=KILL",
            "--",
            "/bin/sh",
            "-c",
            first,
            "sh",
        ];
        all.extend(apart.map(str::to_owned));
        let user = self.user.to_string();
        all.extend([path(self.jailer), "--id".into(), self.name.to_string(), "--exec-file".into()]);
        all.extend([path(self.program), "--uid".into(), user.clone(), "--gid".into(), user]);
        all.extend(["--chroot-base-dir".into(), path(self.base), "--".into()]);
        (kept.to_owned(), all)
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.kill();
    }
}

type Started = io::Result<(Pid, OwnedFd)>;

/// Starts it, hears what it says, and waits for it; then what the machine holds may be given up.
fn hold(
    command: &Program,
    holdings: Arc<Holdings>,
    log: &Log,
    started: &mpsc::Sender<Started>,
    end: &watch::Sender<Option<String>>,
) {
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
    let group = holdings.group();
    let wanted = group.and_then(VmmGroup::out_of_memory);
    // Whoever it has left behind keeps its words open. What does not die is tried again as the group is given up.
    if let Some(group) = group {
        group.kill_all().ok();
    }
    for words in [out, err].into_iter().flatten() {
        // It has said all; a thread that panicked has heard less.
        words.join().ok();
    }
    let how = [Some(describe(status)), wanted].into_iter().flatten().collect::<Vec<_>>().join(": ");
    drop(holdings);
    end.send_replace(Some(how));
}

fn describe(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|why| format!("cannot be waited for: {why}"), |status| format!("ended with {status}"))
}
