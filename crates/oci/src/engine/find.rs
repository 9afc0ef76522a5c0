//! Finds a container runtime on this host, and asks it what it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::Availability;
use agentkernel_process::Program;

use super::{Engine, Runtime};
use crate::bundle::STAGE;

/// How long a program may take to say its version. One in Go takes about 20 ms.
const DEADLINE: Duration = Duration::from_secs(10);

/// Oldest versions that are known to work: the first runc and crun with seccomp's `defaultErrnoRet` and `errnoRet`, and the
/// first gVisor with `--host-uds` and `--overlay2`, by the day of its release as eight digits.
const RUNC_MIN: [u32; 3] = [1, 1, 0];
const CRUN_MIN: [u32; 3] = [1, 0, 0];
const GVISOR_MIN: u32 = 20_221_201;

/// Looks for the runtime in these folders, and asks it what it is.
///
/// # Errors
/// What is missing, and the way out.
pub fn find(engine: Engine, folders: &[PathBuf]) -> Result<Runtime, Availability> {
    locate(engine, folders).and_then(|path| ask(engine, path))
}

/// Asks the program what it is.
pub(crate) fn ask(engine: Engine, path: PathBuf) -> Result<Runtime, Availability> {
    ask_within(DEADLINE, engine, path)
}

/// Looks for the runtime's program in these folders, and nowhere else; relative ones are passed over.
pub(crate) fn locate(engine: Engine, folders: &[PathBuf]) -> Result<PathBuf, Availability> {
    let (name, least) = (engine.program(), least(engine));
    agentkernel_process::locate(name, folders).ok_or_else(|| {
        let needs = format!("the program {name} of {least} or later, which is not in PATH");
        unavailable(needs, format!("apt-get install {name}"))
    })
}

/// The oldest version that will do.
fn least(engine: Engine) -> String {
    let version = |numbers: [u32; 3]| numbers.map(|number| number.to_string()).join(".");
    match engine {
        Engine::Runc => version(RUNC_MIN),
        Engine::Crun => version(CRUN_MIN),
        Engine::Gvisor => format!("{}-{:02}", GVISOR_MIN / 10_000, GVISOR_MIN / 100 % 100),
    }
}

/// Refuses a program that could not be executed where sandboxes are built: the stage covers it there.
pub(crate) fn seen_from_the_stage(engine: Engine, path: PathBuf) -> Result<PathBuf, Availability> {
    if path.starts_with(STAGE) {
        return Err(unusable(
            engine,
            &path,
            &format!("nothing below {STAGE} can be seen where sandboxes are built"),
        ));
    }
    Ok(path)
}

fn ask_within(deadline: Duration, engine: Engine, path: PathBuf) -> Result<Runtime, Availability> {
    let question = |word: &str| {
        let answer = Program::new(&path).and_then(|program| program.argument(word).output(deadline));
        answer.map_err(|why| unusable(engine, &path, &format!("it does not say its version: {why}")))
    };
    let said = question("--version")?;
    let version = said.lines().next().unwrap_or_default().trim().to_owned();
    if !said.contains(engine.program()) {
        let said: String = said.chars().take(80).collect();
        return Err(unusable(engine, &path, &format!("it says of its version {said:?}")));
    }
    let is_old = match engine {
        Engine::Runc => numbers(&version) < RUNC_MIN.to_vec(),
        Engine::Crun => numbers(&version) < CRUN_MIN.to_vec(),
        Engine::Gvisor => date(&version) < GVISOR_MIN,
    };
    if is_old {
        return Err(unusable(engine, &path, &format!("{version:?} is older")));
    }
    let (platform, flags) = match engine {
        Engine::Gvisor => gvisor(&question("flags")?),
        Engine::Runc | Engine::Crun => (None, Vec::new()),
    };
    Ok(Runtime { engine, path, version, platform, flags })
}

fn unavailable(needs: String, hint: String) -> Availability {
    Availability::Unavailable { needs, hint }
}

fn unusable(engine: Engine, path: &Path, why: &str) -> Availability {
    let (name, least) = (engine.program(), least(engine));
    let hint = format!("remove or replace {}; Debian's package is {name}", path.display());
    unavailable(format!("a {name} of {least} or later that works; {} does not: {why}", path.display()), hint)
}

/// `runc version 1.1.5+ds1`, `crun version 1.8.1`.
fn numbers(version: &str) -> Vec<u32> {
    let text = version.rsplit(' ').next().unwrap_or_default();
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).take(3).collect()
}

/// `runsc version 0.0~20221219.0`, `runsc version release-20240729.0`.
fn date(version: &str) -> u32 {
    let dates = version.split(|c: char| !c.is_ascii_digit()).filter(|part| part.len() == 8);
    dates.filter_map(|part| part.parse().ok()).next().unwrap_or(0)
}

/// What gVisor can do is told by its list of flags: its platform, and those that make it as strict as it can be.
fn gvisor(flags: &str) -> (Option<String>, Vec<String>) {
    // `  -platform string` and its description on the next line.
    let has = |flag: &str| flags.lines().any(|line| line.trim_start().starts_with(&format!("-{flag}")));
    let described = |flag: &str| {
        let mut lines = flags.lines().skip_while(|line| !line.trim_start().starts_with(&format!("-{flag} ")));
        lines.nth(1).unwrap_or_default().to_owned()
    };
    let platform = if described("platform").contains("systrap") { "systrap" } else { "ptrace" };
    let strict = [("overlay2", "none"), ("directfs", "false"), ("host-uds", "none")];
    let strict = strict.into_iter().filter(|(flag, _)| has(flag));
    (Some(platform.to_owned()), strict.map(|(flag, value)| format!("--{flag}={value}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is said of a program that is this script.
    fn found(engine: Engine, script: &str) -> Result<Runtime, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(engine.program());
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        let found = locate(engine, &[folder.path().to_owned()]);
        // A hanging one is not waited for.
        found.and_then(|path| ask_within(Duration::from_secs(2), engine, path)).map_err(|unavailable| {
            match unavailable {
                Availability::Unavailable { needs, .. } => {
                    needs.replace(&folder.path().display().to_string(), "BIN")
                }
                other => format!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_runtime_is_taken_as_it_describes_itself() {
        let runc = found(Engine::Runc, "echo runc version 1.1.5+ds1; echo spec: 1.0.2").expect("found");
        assert_eq!((runc.version.as_str(), runc.flags.len()), ("runc version 1.1.5+ds1", 0));
        let old = "case $1 in flags) printf '  -platform string\\n  \\tptrace (default), kvm\\n  -overlay2 value\\n';; \
                   *) echo runsc version 0.0~20221219.0;; esac";
        let old = found(Engine::Gvisor, old).expect("found");
        assert_eq!(
            (old.platform.as_deref(), old.flags),
            (Some("ptrace"), vec!["--overlay2=none".to_owned()])
        );
        let new = "case $1 in flags) printf '  -directfs\\n  -platform string\\n  \\tsystrap (default), ptrace\\n';; \
                   *) echo runsc version release-20240729.0;; esac";
        let new = found(Engine::Gvisor, new).expect("found");
        assert_eq!(
            (new.platform.as_deref(), new.flags),
            (Some("systrap"), vec!["--directfs=false".to_owned()])
        );
    }

    #[test]
    fn what_is_missing_old_hanging_or_something_else_is_told() {
        let missing = locate(Engine::Crun, &["relative".into(), "/nonexistent".into()]).expect_err("missing");
        let Availability::Unavailable { needs, hint } = missing else { panic!("{missing:?}") };
        assert_eq!(needs, "the program crun of 1.0.0 or later, which is not in PATH");
        assert_eq!(hint, "apt-get install crun");
        let needs = found(Engine::Runc, "echo runc version 1.0.0-rc93").expect_err("old");
        assert_eq!(
            needs,
            "a runc of 1.1.0 or later that works; BIN/runc does not: \"runc version 1.0.0-rc93\" is older"
        );
        let needs = found(Engine::Gvisor, "echo runsc version release-20200101.0").expect_err("old");
        assert!(
            needs.starts_with("a runsc of 2022-12 or later that works") && needs.contains("is older"),
            "{needs}"
        );
        let needs = found(Engine::Runc, "echo hello").expect_err("another program");
        assert!(needs.contains("hello"), "{needs}");
        let below = seen_from_the_stage(Engine::Runc, "/tmp/bin/runc".into()).expect_err("covered");
        assert!(matches!(below, Availability::Unavailable { needs, .. } if needs.contains("below /tmp")));
        let needs = found(Engine::Runc, "exit 3").expect_err("fails");
        assert!(needs.contains("exit status: 3"), "{needs}");
        let hanging = "case $1 in flags) exec sleep 600;; *) echo runsc version release-20240729.0;; esac";
        for (engine, script) in [(Engine::Runc, "exec sleep 600"), (Engine::Gvisor, hanging)] {
            let needs = found(engine, script).expect_err("hangs");
            assert!(needs.contains(" or later that works") && needs.ends_with("timed out"), "{needs}");
        }
    }
}
