//! A home of its own for the program under test, away from the user's files and environment.

mod finished;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub use finished::Finished;

/// Uid and gid that no distribution gives to anybody: who the program is when root tests it as an
/// ordinary user.
pub const ORDINARY_USER: u32 = 54321;

/// Where Linux distributions keep their programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An empty home, an empty `AGENTKERNEL_HOME` and an empty working directory, removed with the value.
#[derive(Debug)]
pub struct TestEnvironment {
    root: TempDir,
    ordinary_user: bool,
    /// Address of the container engine; none of the host's is ever asked.
    engine: String,
}

/// Where no engine is.
const NO_ENGINE: &str = "unix:///nonexistent/engine.sock";

impl TestEnvironment {
    /// An environment for whoever runs the test.
    #[must_use]
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("ak-test-").tempdir().expect("make a temporary folder");
        let environment = Self { root, ordinary_user: false, engine: NO_ENGINE.into() };
        for folder in ["home", "agentkernel", "work", "bin"] {
            fs::create_dir(environment.root().join(folder)).expect("make a folder of the test environment");
        }
        environment
    }

    /// An environment whose commands run as an ordinary user, even where root runs the test.
    #[must_use]
    pub fn for_ordinary_user() -> Self {
        let mut environment = Self::new();
        environment.ordinary_user = rustix::process::geteuid().is_root();
        if environment.ordinary_user {
            for folder in ["", "home", "agentkernel", "work", "bin"] {
                let owner = Some(ORDINARY_USER);
                chown(environment.root().join(folder), owner, owner).expect("give the folder away");
            }
        }
        environment
    }

    /// Lets every command from now on use the container engine that listens there.
    pub fn use_engine(&mut self, address: impl Into<String>) {
        self.engine = address.into();
    }

    /// The folder that holds everything else.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// `HOME` of every command.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// `AGENTKERNEL_HOME` of every command.
    #[must_use]
    pub fn agentkernel_home(&self) -> PathBuf {
        self.root().join("agentkernel")
    }

    /// Working directory of every command.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root().join("work")
    }

    /// A copy of a program that the ordinary user can execute, wherever the build directory is.
    #[must_use]
    pub fn lend(&self, program: &Path) -> PathBuf {
        let copy = self.root().join("bin").join(program.file_name().expect("a program has a name"));
        // Never written twice: whoever still runs the first copy would keep the second from being made.
        if copy.exists() || fs::hard_link(program, &copy).is_ok() {
            return copy;
        }
        fs::copy(program, &copy).expect("copy the program");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("make it executable");
        copy
    }

    /// A command that inherits nothing: `PATH`, `HOME`, `AGENTKERNEL_HOME` and the address of an engine are its whole
    /// environment, and its stdin is empty.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "starts the program under test, which no crate of ours does"
    )]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.home())
            .env("AGENTKERNEL_HOME", self.agentkernel_home())
            .env("DOCKER_HOST", &self.engine)
            .env("CONTAINER_HOST", &self.engine)
            .current_dir(self.work())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        begin_heeding(&mut command);
        if self.ordinary_user {
            as_ordinary_user(&mut command);
        }
        command
    }

    /// Runs a command of this environment to its end.
    #[must_use]
    pub fn run(&self, program: impl AsRef<Path>, words: &[&str]) -> Finished {
        Finished::of(self.command(program).args(words))
    }
}

impl Default for TestEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets the command begin with [`heed_every_signal`].
fn begin_heeding(command: &mut Command) {
    let hook = || {
        heed_every_signal();
        Ok(())
    };
    // SAFETY: the hook does nothing that is not async-signal-safe.
    unsafe { command.pre_exec(hook) };
}

/// Restores the default for every signal that asks for an end, even where the test itself was started to
/// ignore them: a shell does that to whatever it puts into the background.
pub(crate) fn heed_every_signal() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: setting a default disposition is async-signal-safe and has no other precondition.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes the command run as [`ORDINARY_USER`] without groups, if root runs the test; else it already
/// runs as an ordinary user.
pub fn as_ordinary_user(command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        // Setting the uid as root also drops every supplementary group (std documents and does so).
        command.gid(ORDINARY_USER).uid(ORDINARY_USER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_inherits_nothing_and_works_in_its_own_folder() {
        let environment = TestEnvironment::new();
        let finished = environment.run("/usr/bin/env", &[]).assert_success();
        let mut names: Vec<_> = finished.stdout_text().lines().map(str::to_owned).collect();
        names.iter_mut().for_each(|line| line.truncate(line.find('=').unwrap_or(0)));
        names.sort_unstable();
        assert_eq!(names, ["AGENTKERNEL_HOME", "CONTAINER_HOST", "DOCKER_HOST", "HOME", "PATH"]);
        let folder = environment.run("/bin/pwd", &["-P"]).assert_success();
        assert_eq!(
            folder.stdout_text().trim_end(),
            environment.work().canonicalize().unwrap().to_str().unwrap()
        );
    }

    #[test]
    fn an_ordinary_user_is_not_root_has_no_groups_and_can_write_at_home() {
        let environment = TestEnvironment::for_ordinary_user();
        let script = "id -u; id -G; echo x >\"$HOME/file\" && echo x >file && echo written";
        let finished = environment.run("/bin/sh", &["-c", script]).assert_success();
        let lines: Vec<_> = finished.stdout_text().lines().map(str::to_owned).collect();
        assert_ne!(lines[0], "0");
        if rustix::process::geteuid().is_root() {
            assert_eq!(lines[..2], [ORDINARY_USER.to_string(), ORDINARY_USER.to_string()]);
        }
        assert_eq!(lines[2], "written");
    }

    #[test]
    fn nothing_is_left_of_an_environment() {
        let environment = TestEnvironment::new();
        let root = environment.root().to_owned();
        environment.run("/bin/sh", &["-c", "mkdir -p a/b && echo x >a/b/c"]).assert_success();
        drop(environment);
        assert!(!root.exists());
    }
}
