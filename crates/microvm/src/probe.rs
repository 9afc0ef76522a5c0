//! Whether machines can be made here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Availability, BackendKind, Error, ErrorKind};
use agentkernel_process::{Program, locate};

use crate::backend::QemuBackend;
use crate::kernel::Kernel;
use crate::plan::Accelerator;

/// The VMM's program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The oldest QEMU that was tried, which Debian 12 has. `-M microvm` with ACPI is in it since 5.2.
const VERSION_MIN: (u32, u32) = (7, 2);

/// How long it may take to tell its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// What is said of a machine without hardware virtualisation, wherever it is shown.
pub(crate) const EMULATED: &str = "emulated: not a security boundary";

/// Why there can be no machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) needs: String,
    pub(crate) hint: String,
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        Self::new(ErrorKind::Unavailable, "start the sandbox", format!("it needs {}", unusable.needs))
            .on(BackendKind::Qemu)
            .hint(unusable.hint)
    }
}

impl From<Unusable> for Availability {
    fn from(unusable: Unusable) -> Self {
        Self::Unavailable { needs: unusable.needs, hint: unusable.hint }
    }
}

/// What a machine is made with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) qemu: PathBuf,
    pub(crate) version: String,
    pub(crate) setpriv: PathBuf,
    pub(crate) mke2fs: PathBuf,
    pub(crate) accelerator: Accelerator,
    pub(crate) home: PathBuf,
    pub(crate) kernel: Kernel,
}

impl QemuBackend {
    /// All that a machine needs, once it is clear that it is there.
    pub(crate) fn tools(&self, emulate: bool) -> Result<Tools, Unusable> {
        let settings = &self.settings;
        if !cfg!(target_arch = "x86_64") {
            return Err(unusable("an x86-64 host", "use --backend oci here"));
        }
        let find = |name: &str, package: &str| {
            locate(name, &settings.search_path).ok_or_else(|| {
                unusable(&format!("{name}, which is not installed"), &format!("apt-get install {package}"))
            })
        };
        let qemu = find(QEMU, "qemu-system-x86")?;
        let (setpriv, mke2fs) = (find("setpriv", "util-linux")?, find("mke2fs", "e2fsprogs")?);
        let version = self.version.get_or_init(|| ask_version(&qemu)).clone()?;
        let home = settings
            .home
            .clone()
            .ok_or_else(|| unusable("a folder for its kernel", "set AGENTKERNEL_HOME"))?;
        let kernel = self.store(&home).find().map_err(|why| unusable(&why.to_string(), SETUP))?;
        let kernel = kernel.ok_or_else(|| unusable("a kernel for the guest", SETUP))?;
        let accelerator = self.accelerator(emulate)?;
        Ok(Tools { qemu, version, setpriv, mke2fs, accelerator, home, kernel })
    }

    fn accelerator(&self, emulate: bool) -> Result<Accelerator, Unusable> {
        if emulate {
            return Ok(Accelerator::Tcg);
        }
        match (self.settings.hardware)() {
            Ok(()) => Ok(Accelerator::Kvm),
            Err(why) => Err(unusable(
                &format!("hardware virtualisation ({why})"),
                &format!("use --emulate to run it all the same ({EMULATED})"),
            )),
        }
    }

    /// The answer of the probe.
    pub(crate) fn availability(&self) -> Availability {
        let tools = match self.tools(false) {
            Ok(tools) => return Availability::Available { facts: tools.facts() },
            Err(unusable) => self.tools(true).map_err(|_| unusable),
        };
        match tools {
            Err(unusable) => unusable.into(),
            Ok(tools) => {
                let why = (self.settings.hardware)().err().unwrap_or_default();
                let limitation = format!("only by --emulate, {EMULATED} (no hardware virtualisation: {why})");
                Availability::Limited { facts: tools.facts(), limitation }
            }
        }
    }
}

const SETUP: &str = "agentkernel setup microvm";

impl Tools {
    fn facts(&self) -> Vec<(String, String)> {
        let accelerator = match self.accelerator {
            Accelerator::Kvm => "KVM".to_owned(),
            Accelerator::Tcg => format!("TCG ({EMULATED})"),
        };
        let facts = [
            ("program", format!("QEMU {} at {}", self.version, self.qemu.display())),
            ("kernel", format!("{} (sha256 {:.16})", self.kernel.source, self.kernel.sha256)),
            ("accelerator", accelerator),
        ];
        facts.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

fn unusable(needs: &str, hint: &str) -> Unusable {
    Unusable { needs: needs.into(), hint: hint.into() }
}

/// The version of a program that says what QEMU says: `QEMU emulator version 7.2.22 (…)`.
fn ask_version(qemu: &Path) -> Result<String, Unusable> {
    let install = "install qemu-system-x86 7.2 or newer";
    let said = Program::new(qemu).and_then(|program| program.argument("--version").output(VERSION_DEADLINE));
    let said = said.map_err(|why| {
        unusable(&format!("QEMU, and {} does not tell its version: {why}", qemu.display()), install)
    })?;
    let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    let found: Option<(u32, u32)> = numbers.next().zip(numbers.next());
    match found {
        Some(found) if found >= VERSION_MIN => Ok(version.to_owned()),
        Some(_) => Err(unusable(&format!("QEMU 7.2 or newer, and this is {version}"), install)),
        None => Err(unusable(&format!("QEMU, and {} is something else", qemu.display()), install)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_old_version_and_another_program_are_told_apart() {
        let home = tempfile::tempdir().expect("a folder");
        let told = |says: &str| {
            let path = home.path().join("qemu");
            fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
            ask_version(&path).map_err(|unusable| unusable.needs)
        };
        assert_eq!(told("QEMU emulator version 7.2.22 (Debian 1:7.2)"), Ok("7.2.22".into()));
        assert_eq!(told("QEMU emulator version 10.0.0"), Ok("10.0.0".into()));
        assert!(told("QEMU emulator version 6.2.0").expect_err("old").contains("this is 6.2.0"));
        assert!(told("hello").expect_err("other").contains("something else"));
        assert!(ask_version(Path::new("/bin/false")).is_err());
    }
}
