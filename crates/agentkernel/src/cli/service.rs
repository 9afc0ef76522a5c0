//! `agentkernel service`: the daemon as a service of the user's systemd.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};
use clap::Subcommand;

use crate::environment::{self, Environment};
use crate::errors::{self, Failure};
use crate::output;

/// The name of the unit.
const UNIT: &str = "agentkernel.service";
/// By which we know a unit of our own.
const MARK: &str = "# Written by agentkernel service install, and removed by agentkernel service uninstall.";

/// Let systemd run the daemon for this user
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  agentkernel service install --dry-run\n  agentkernel service install"
)]
pub struct Args {
    #[command(subcommand)]
    subcommand: Words,
}

#[derive(Debug, Subcommand)]
enum Words {
    /// Write the unit, and say what to do next
    Install {
        /// Print the unit, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove the unit that install wrote
    Uninstall {
        /// Say what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let path = environment.systemd_units()?.join(UNIT);
    match args.subcommand {
        Words::Install { dry_run } => install(&path, environment, dry_run)?,
        Words::Uninstall { dry_run } => uninstall(&path, dry_run)?,
    }
    Ok(0)
}

fn install(path: &Path, environment: &Environment, dry_run: bool) -> Result<(), Failure> {
    let failed = |why: io::Error| Error::new(ErrorKind::Host, "write the unit", why).on(path.display());
    let program = environment::program().map_err(failed)?;
    let unit = unit(&program, environment.agentkernel_home())?;
    if dry_run {
        return output::print(&unit);
    }
    check_ours(path)?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    fs::create_dir_all(folder).and_then(|()| fs::write(path, unit)).map_err(failed)?;
    errors::say(&format!("wrote {}", path.display()));
    errors::say_hint("now: systemctl --user daemon-reload && systemctl --user enable --now agentkernel");
    errors::say_hint("to let it run while you are logged out: loginctl enable-linger");
    Ok(())
}

fn uninstall(path: &Path, dry_run: bool) -> Result<(), Failure> {
    if !path.exists() {
        errors::say(&format!("there is no {}", path.display()));
        return Ok(());
    }
    check_ours(path)?;
    if dry_run {
        errors::say(&format!("would remove {}", path.display()));
        return Ok(());
    }
    let failed = |why: io::Error| Error::new(ErrorKind::Host, "remove the unit", why).on(path.display());
    fs::remove_file(path).map_err(failed)?;
    errors::say(&format!("removed {}", path.display()));
    errors::say_hint(
        "before this: systemctl --user disable --now agentkernel; after it: systemctl --user daemon-reload",
    );
    Ok(())
}

/// Refuses to touch a unit that somebody else wrote.
fn check_ours(path: &Path) -> Result<()> {
    match fs::read_to_string(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(text) if text.starts_with(MARK) => Ok(()),
        Ok(_) => Err(Error::new(ErrorKind::Host, "change the unit", "somebody else wrote it")
            .on(path.display())
            .hint("remove it by hand, if it is not needed")),
        Err(why) => Err(Error::new(ErrorKind::Host, "read the unit", why).on(path.display())),
    }
}

/// The unit. A stop is a drain: systemd signals the daemon alone, and it ends the rest. What outlives a daemon that
/// crashed is for the next one to get back, and so not for systemd to kill.
fn unit(program: &Path, home: Option<&Path>) -> Result<String> {
    let home = home
        .map(quoted)
        .transpose()?
        .map_or_else(String::new, |home| format!("Environment=\"AGENTKERNEL_HOME={home}\"\n"));
    // A variable would be put in here, and nowhere else in a unit.
    let program = quoted(program)?.replace('$', "$$");
    Ok(format!(
        "{MARK}\n\
         [Unit]\n\
         Description=agentkernel: the daemon that owns sandboxes\n\
         \n\
         [Service]\n\
         ExecStart=\"{program}\" serve\n\
         {home}\
         Delegate=yes\n\
         KillMode=process\n\
         TimeoutStopSec=60\n\
         Restart=on-failure\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// A path within double quotes of a unit.
fn quoted(path: &Path) -> Result<String> {
    let wrong = |why: &str| Error::new(ErrorKind::Host, "write the unit", why).on(path.display());
    let text = path.to_str().ok_or_else(|| wrong("a unit cannot name a path that is not UTF-8"))?;
    if text.contains(char::is_control) {
        return Err(wrong("a unit cannot name a path with control characters"));
    }
    Ok(text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_of_the_unit() {
        assert_eq!(quoted(Path::new("/a b/\"%$")).expect("text"), "/a b/\\\"%%$");
        assert!(quoted(Path::new("/a\nExecStart=/evil")).is_err());
        let unit = unit(Path::new("/opt/$x/agentkernel"), Some(Path::new("/srv/$x"))).expect("a unit");
        assert!(unit.contains(
            "\nExecStart=\"/opt/$$x/agentkernel\" serve\nEnvironment=\"AGENTKERNEL_HOME=/srv/$x\"\n"
        ));
    }
}
