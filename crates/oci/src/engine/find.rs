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

/// Looks for the runtime's program in these folders, and nowhere else; relative ones are passed over.
pub(crate) fn locate(engine: Engine, folders: &[PathBuf]) -> Result<PathBuf, Availability> {
    let name = engine.program();
    agentkernel_process::locate(name, folders).ok_or_else(|| {
        unavailable(format!("the program {name}, which is not in PATH"), format!("apt-get install {name}"))
    })
}

/// Refuses a program that could not be executed where sandboxes are built: the stage covers it there.
pub(crate) fn seen_from_the_stage(path: PathBuf) -> Result<PathBuf, Availability> {
    if path.starts_with(STAGE) {
        return Err(unusable(&path, &format!("nothing below {STAGE} can be seen where sandboxes are built")));
    }
    Ok(path)
}

/// Asks the program what it is.
pub(crate) fn ask(engine: Engine, path: PathBuf) -> Result<Runtime, Availability> {
    let name = engine.program();
    let said = question(&path, "--version")?;
    let version = said.lines().next().unwrap_or_default().trim().to_owned();
    if !said.contains(name) {
        let said: String = said.chars().take(80).collect();
        return Err(unusable(&path, &format!("it says of its version {said:?}")));
    }
    let found = Runtime { engine, path, version, platform: None, flags: Vec::new() };
    match engine {
        Engine::Runc => at_least(found, RUNC_MIN),
        Engine::Crun => at_least(found, CRUN_MIN),
        Engine::Gvisor => gvisor(found),
    }
}

fn question(path: &Path, word: &str) -> Result<String, Availability> {
    let answer = Program::new(path).and_then(|program| program.argument(word).output(DEADLINE));
    answer.map_err(|why| unusable(path, &format!("it does not say its version: {why}")))
}

fn unavailable(needs: String, hint: String) -> Availability {
    Availability::Unavailable { needs, hint }
}

fn unusable(path: &Path, why: &str) -> Availability {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hint = format!("remove or replace {}; Debian's package is {name}", path.display());
    unavailable(format!("a {name} that works; {} does not: {why}", path.display()), hint)
}

fn too_old(found: &Runtime, least: &str) -> Availability {
    unusable(&found.path, &format!("{:?} is older than {least}", found.version))
}

/// `runc version 1.1.5+ds1`, `crun version 1.8.1`.
fn at_least(found: Runtime, least: [u32; 3]) -> Result<Runtime, Availability> {
    let numbers = |text: &str| -> Vec<u32> {
        let text = text.rsplit(' ').next().unwrap_or_default();
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).take(3).collect()
    };
    if numbers(&found.version) < least.to_vec() {
        let least = least.map(|number| number.to_string()).join(".");
        return Err(too_old(&found, &least));
    }
    Ok(found)
}

/// `runsc version 0.0~20221219.0`, `runsc version release-20240729.0`; what it can do is told by its list of flags.
fn gvisor(mut found: Runtime) -> Result<Runtime, Availability> {
    let date = found.version.split(|c: char| !c.is_ascii_digit()).filter(|part| part.len() == 8);
    let date = date.filter_map(|part| part.parse::<u32>().ok()).next().unwrap_or(0);
    if date < GVISOR_MIN {
        return Err(too_old(&found, "2022-12"));
    }
    let flags = question(&found.path, "flags")?;
    // `  -platform string` and its description on the next line.
    let has = |flag: &str| flags.lines().any(|line| line.trim_start().starts_with(&format!("-{flag}")));
    let described = |flag: &str| {
        let mut lines = flags.lines().skip_while(|line| !line.trim_start().starts_with(&format!("-{flag} ")));
        lines.nth(1).unwrap_or_default().to_owned()
    };
    let platform = if described("platform").contains("systrap") { "systrap" } else { "ptrace" };
    found.platform = Some(platform.to_owned());
    for (flag, value) in [("overlay2", "none"), ("directfs", "false"), ("host-uds", "none")] {
        if has(flag) {
            found.flags.push(format!("--{flag}={value}"));
        }
    }
    Ok(found)
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
        find(engine, &[folder.path().to_owned()]).map_err(|unavailable| match unavailable {
            Availability::Unavailable { needs, .. } => {
                needs.replace(&folder.path().display().to_string(), "BIN")
            }
            other => format!("{other:?}"),
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
        assert!(matches!(missing, Availability::Unavailable { hint, .. } if hint == "apt-get install crun"));
        let needs = found(Engine::Runc, "echo runc version 1.0.0-rc93").expect_err("old");
        assert!(needs.contains("BIN/runc does not") && needs.contains("older than 1.1.0"), "{needs}");
        let needs = found(Engine::Gvisor, "echo runsc version release-20200101.0").expect_err("old");
        assert!(needs.contains("older than 2022-12"), "{needs}");
        let needs = found(Engine::Runc, "echo hello").expect_err("another program");
        assert!(needs.contains("hello"), "{needs}");
        let below = seen_from_the_stage("/tmp/bin/runc".into()).expect_err("covered");
        assert!(matches!(below, Availability::Unavailable { needs, .. } if needs.contains("below /tmp")));
        let needs = found(Engine::Runc, "exit 3").expect_err("fails");
        assert!(needs.contains("exit status: 3"), "{needs}");
    }
}
