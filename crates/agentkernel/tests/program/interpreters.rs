//! The interpreters of `eval`, made once and kept for all tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agentkernel_core::Availability;
use agentkernel_testkit::{Finished, available_or_skip};

use crate::support::Trial;

/// A trial that has the interpreter of this language; `None`, loudly, where it cannot be made.
pub fn with(language: &'static str) -> Option<Trial> {
    let trial = Trial::booting()?;
    trial.write_user_config("backend = \"wasm\"\n");
    install(&trial, language).then_some(trial)
}

/// Gives a trial the interpreter, or says loudly why it cannot be made.
pub fn install(trial: &Trial, language: &'static str) -> bool {
    if !available_or_skip(&format!("eval-{language}"), made(language)) {
        return false;
    }
    let to = trial.environment.agentkernel_home();
    if !to.join("eval").exists() {
        symlink(home().join("eval"), to.join("eval")).expect("linked");
    }
    lend(&home().join("cache/wasm"), &to.join("cache/wasm"));
    true
}

/// AGENTKERNEL_HOME of those that are kept.
pub fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("eval-home")
}

/// `setup eval` with the package managers of whoever runs the tests, and their settings.
pub fn setup(language: &str) -> Finished {
    at_home(&["setup", "eval", "--lang", language])
}

/// Runs the program where the interpreters are kept. A compiler may take long.
fn at_home(words: &[&str]) -> Finished {
    const DEADLINE: Duration = Duration::from_secs(900);
    let trial = Trial::new();
    let mut command = trial.command(words);
    let child = command.envs(std::env::vars_os()).env("AGENTKERNEL_HOME", home()).spawn().expect("started");
    Finished::wait(format!("{words:?}"), child, DEADLINE)
}

/// Whether it could be made; tried once, and compiled for this machine.
fn made(language: &str) -> &'static Availability {
    static MADE: [OnceLock<Availability>; 2] = [OnceLock::new(), OnceLock::new()];
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    MADE[usize::from(language == "js")].get_or_init(|| {
        fs::create_dir_all(home()).expect("made");
        let said = setup(language);
        if !said.status.success() {
            return Availability::Unavailable {
                needs: said.stderr_text().trim().replace('\n', "; "),
                hint: "scripts/setup --test".into(),
            };
        }
        // That it was there already does not mean that today's engine has compiled it.
        at_home(&["eval", "--no-daemon", "--lang", language, "-p", "1"]).assert_success();
        Availability::Available { facts: Vec::new() }
    })
}

/// Every file of a folder of machine code, in another one, which nobody else may write to.
fn lend(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    let entries = fs::read_dir(from).expect("it is there").flatten();
    for entry in entries.filter(|entry| entry.path().is_file()) {
        let copy = to.join(entry.file_name());
        if !copy.exists() && fs::hard_link(entry.path(), &copy).is_err() {
            fs::copy(entry.path(), &copy).expect("copied");
        }
    }
}
