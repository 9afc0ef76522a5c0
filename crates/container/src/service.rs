//! Podman's API, served by a child of ours where nobody else serves it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentkernel_process::{Attended, Program};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::address::EngineSettings;
use crate::scratch::Scratch;
use crate::stream::LastWords;
use crate::trouble::Unusable;

/// Seconds that it serves on without a request, should we be killed: sandboxes hold a request open each.
const IDLE_SECONDS: u32 = 10;

/// How long it may take to come up. It takes a tenth of a second; its first time on a host it makes its storage.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How long it may take to end without root. It takes some milliseconds, unless a request of ours is open that nobody can
/// close any more because the async runtime's one thread waits here: that of the engine's events (measured: all two seconds).
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// How long its last words are waited for.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(300);

/// Where folders are made for what a service leaves: the archive of each image that it was given, 1.5 MB for our own
/// (`api_load.tar…`, seen with 4.3). On a disk, for some may be large; Podman takes the same without being told.
const SCRATCH: &str = "/var/tmp";

/// How often it is tried.
const POLL: Duration = Duration::from_millis(5);

/// A running service, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    program: Mutex<Attended>,
    /// Where it puts what it does not take away again. Removed with it.
    _scratch: Scratch,
}

impl Service {
    /// Whether it is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.ended().is_ok_and(|status| status.is_none())
    }

    fn ended(&self) -> std::io::Result<Option<std::process::ExitStatus>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner).has_ended()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // What it serves ends with it: conmon closes the standard input of each container. Without root it is told and not
        // killed, for there it is a process and its parent, who passes the word on.
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = i32::try_from(program.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let is_two = !rustix::process::geteuid().is_root();
        if let Some(pid) = pid.filter(|_| is_two && program.has_ended().is_ok_and(|status| status.is_none()))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            let until = std::time::Instant::now() + STOP_DEADLINE;
            while program.has_ended().is_ok_and(|status| status.is_none())
                && std::time::Instant::now() < until
            {
                std::thread::park_timeout(POLL);
            }
        }
        program.kill().ok();
        std::fs::remove_file(&self.socket).ok();
    }
}

/// Starts it, and waits until it answers.
pub(crate) async fn start(settings: &EngineSettings) -> Result<Service, Unusable> {
    let podman = settings.program("podman").ok_or_else(|| Unusable {
        needs: "podman, which is not installed".into(),
        hint: "apt-get install podman".into(),
    })?;
    let failed = |why: String| Unusable {
        needs: format!("podman's API, and `podman system service` does not serve it: {why}"),
        hint: hint_for(&why).into(),
    };
    let folder = &settings.runtime_dir;
    crate::files::make_private(folder).map_err(|why| failed(format!("{}: {why}", folder.display())))?;
    let socket = folder.join(format!("podman-{}.sock", std::process::id()));
    std::fs::remove_file(&socket).ok();
    Scratch::sweep(Path::new(SCRATCH));
    let scratch = Scratch::new(Path::new(SCRATCH)).map_err(|why| failed(format!("{SCRATCH}: {why}")))?;
    let program = program(settings, &podman, &socket).map_err(|why| failed(why.to_string()))?;
    let mut variables: Vec<(&str, String)> = settings.podman_variables();
    variables.push(("TMPDIR", scratch.path().display().to_string()));
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut program = program.spawn_attended(&variables).map_err(|why| failed(why.to_string()))?;
    let words = listen(&mut program);
    let service = Service { socket, program: Mutex::new(program), _scratch: scratch };
    wait_until_up(service, &words).await.map_err(failed)
}

fn program(settings: &EngineSettings, podman: &Path, socket: &Path) -> std::io::Result<Program> {
    let mut program = Program::new(podman)?;
    // Debian 12's crun refuses to mix the two kinds of control groups; runc does not.
    let is_unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if let Some(runc) = settings.program("runc").filter(|_| !is_unified) {
        program = program.argument("--runtime").argument(&runc.to_string_lossy());
    }
    let address = format!("unix://{}", socket.display());
    let idle = IDLE_SECONDS.to_string();
    Ok(["system", "service", "--time", &idle, &address]
        .iter()
        .fold(program, |program, word| program.argument(word)))
}

async fn wait_until_up(service: Service, words: &LastWords) -> Result<Service, String> {
    let until = Instant::now() + START_DEADLINE;
    loop {
        if UnixStream::connect(&service.socket).await.is_ok() {
            return Ok(service);
        }
        if let Some(status) = service.ended().map_err(|why| why.to_string())? {
            // What it said last may still be on its way; a process that it left may keep the way open.
            let until = Instant::now() + LAST_WORDS_WAIT;
            while !words.are_all() && Instant::now() < until {
                tokio::time::sleep(POLL).await;
            }
            return Err(format!("{status}: {}", words.text()));
        }
        if Instant::now() >= until {
            return Err(format!("it does not come up: {}", words.text()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Reads what it says, lest it wait for somebody who does.
fn listen(program: &mut Attended) -> LastWords {
    program.stdin = None;
    program.stdout = None;
    program.stderr.take().map(LastWords::of).unwrap_or_default()
}

/// The way out of what Podman complains of.
fn hint_for(why: &str) -> &'static str {
    if ["subuid", "subgid", "newuidmap", "newgidmap", "no subuid ranges"]
        .iter()
        .any(|word| why.contains(word))
    {
        return "give this user ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER (and \
                apt-get install uidmap), then podman system migrate; or run as root";
    }
    if why.contains("cgroup") {
        return "use cgroup v2, or install runc, which works with v1";
    }
    "run podman info, which says the same at more length"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_ids_is_told_how_to_get_some() {
        assert!(hint_for("cannot find UID/GID for user x: no subuid ranges found").contains("--add-subuids"));
        assert!(hint_for("exec: \"newuidmap\": executable file not found").contains("uidmap"));
        assert!(hint_for("crun: cgroup in hybrid mode not supported").contains("runc"));
    }

    #[tokio::test]
    async fn what_it_leaves_goes_with_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let podman = folder.path().join("podman");
        let script = "#!/bin/sh\necho $TMPDIR >$HOME/where\n: >$TMPDIR/api_load.tar123\n\
                      for last; do :; done\nexec /usr/bin/python3 -c '\
                      import os,signal,socket,sys,time\n\
                      told=os.path.join(os.environ[\"HOME\"],\"told\")\n\
                      signal.signal(signal.SIGTERM,lambda *_: open(told,\"w\"))\n\
                      s=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1][7:])\n\
                      s.listen()\nwhile True: time.sleep(1000)' \"$last\"\n";
        std::fs::write(&podman, script).expect("written");
        std::fs::set_permissions(&podman, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let settings = EngineSettings {
            search_path: vec![folder.path().to_owned()],
            runtime_dir: folder.path().join("run"),
            home: Some(folder.path().to_owned()),
            ..EngineSettings::default()
        };
        let service = start(&settings).await.expect("up");
        let scratch =
            PathBuf::from(std::fs::read_to_string(folder.path().join("where")).expect("told").trim());
        assert!(scratch.starts_with("/var/tmp") && scratch.join("api_load.tar123").exists(), "{scratch:?}");
        drop(service);
        assert!(!scratch.exists());
        // As root it is one process, which is killed: told, it would wait for requests that nobody closes any more.
        assert_eq!(folder.path().join("told").exists(), !rustix::process::geteuid().is_root());
    }

    #[tokio::test]
    async fn a_podman_that_ends_is_told_in_its_own_words_and_one_that_is_missing_with_the_way_out() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let settings = EngineSettings {
            search_path: vec![folder.path().to_owned()],
            runtime_dir: folder.path().join("run"),
            ..EngineSettings::default()
        };
        let missing = start(&settings).await.expect_err("refused");
        assert!(missing.hint.contains("apt-get install podman"));
        let podman = folder.path().join("podman");
        std::fs::write(&podman, "#!/bin/sh\necho no subuid ranges found >&2\nexit 125\n").expect("written");
        std::fs::set_permissions(&podman, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let refused = start(&settings).await.expect_err("refused");
        assert!(refused.needs.contains("no subuid ranges found"), "{refused:?}");
        assert!(refused.hint.contains("--add-subuids"));
    }
}
