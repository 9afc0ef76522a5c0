//! Whether machines can be made here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Availability, Error, ErrorKind};
use agentkernel_process::{Program, locate};

use crate::backend::MicrovmBackend;
use crate::kernel::Kernel;
use crate::plan::{Accelerator, VmmKind};

/// The oldest QEMU that was tried, which Debian 12 has. `-M microvm` with ACPI is in it since 5.2.
const QEMU_MIN: (u32, u32) = (7, 2);

/// The oldest Firecracker that tells its guest of its devices by ACPI, where a kernel finds them without words of its own.
const FIRECRACKER_MIN: (u32, u32) = (1, 8);

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
    /// The VMM.
    pub(crate) program: PathBuf,
    /// What locks it in, where that is to be.
    pub(crate) jail: Option<JailTools>,
    pub(crate) version: String,
    pub(crate) setpriv: PathBuf,
    pub(crate) mke2fs: PathBuf,
    pub(crate) accelerator: Accelerator,
    pub(crate) home: PathBuf,
    pub(crate) kernel: Kernel,
}

impl MicrovmBackend {
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
        let program = locate(self.vmm.program(), &settings.search_path).ok_or_else(|| self.missing())?;
        let (setpriv, mke2fs) = (find("setpriv", "util-linux")?, find("mke2fs", "e2fsprogs")?);
        let version = self.version.get_or_init(|| self.ask_version(&program)).clone()?;
        let home = settings
            .home
            .clone()
            .ok_or_else(|| unusable("a folder for its kernel", "set AGENTKERNEL_HOME"))?;
        let kernel = self.store(&home).find().map_err(|why| unusable(&why.to_string(), SETUP))?;
        let kernel = kernel.ok_or_else(|| unusable("a kernel for the guest", SETUP))?;
        if self.vmm == VmmKind::Firecracker && !kernel.has_vsock() {
            return Err(unusable("a kernel with vsock, which this one was set up without", SETUP));
        }
        let accelerator = self.accelerator(emulate)?;
        let jail = self.jail.get_or_init(|| self.find_jail(&version)).clone()?;
        Ok(Tools { program, jail, version, setpriv, mke2fs, accelerator, home, kernel })
    }

    fn accelerator(&self, emulate: bool) -> Result<Accelerator, Unusable> {
        if emulate && self.vmm == VmmKind::Qemu {
            return Ok(Accelerator::Tcg);
        }
        match (self.settings.hardware)() {
            Ok(()) => Ok(Accelerator::Kvm),
            Err(why) => {
                let way_out =
                    format!("use --backend qemu --emulate to run a machine all the same ({EMULATED})");
                Err(unusable(&format!("hardware virtualisation ({why})"), &way_out))
            }
        }
    }

    /// The answer of the probe.
    pub(crate) fn availability(&self) -> Availability {
        let tools = match self.tools(false) {
            Ok(tools) => {
                let facts = self.facts(&tools);
                return match self.unjailed() {
                    // An ordinary user cannot have more, and is told of what he gets.
                    Some(limitation) if is_root() => Availability::Limited { facts, limitation },
                    _ => Availability::Available { facts },
                };
            }
            Err(unusable) => self.tools(true).map_err(|_| unusable),
        };
        match tools {
            Err(unusable) => unusable.into(),
            Ok(tools) => {
                let why = (self.settings.hardware)().err().unwrap_or_default();
                let limitation = format!("only by --emulate, {EMULATED} (no hardware virtualisation: {why})");
                Availability::Limited { facts: self.facts(&tools), limitation }
            }
        }
    }
}

const SETUP: &str = "agentkernel setup microvm";

impl MicrovmBackend {
    fn facts(&self, tools: &Tools) -> Vec<(String, String)> {
        let accelerator = match tools.accelerator {
            Accelerator::Kvm => "KVM".to_owned(),
            Accelerator::Tcg => format!("TCG ({EMULATED})"),
        };
        let hierarchy = self.hierarchy();
        let limits = if hierarchy.can_limit() {
            format!("control group ({})", hierarchy.describe())
        } else {
            "none but its guest's own: no control group can be made".to_owned()
        };
        let facts = [
            ("program", format!("version {} at {}", tools.version, tools.program.display())),
            ("kernel", format!("{} (sha256 {:.16})", tools.kernel.source, tools.kernel.sha256)),
            ("accelerator", accelerator),
            ("limits of the VMM", limits),
        ];
        facts.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

fn unusable(needs: &str, hint: &str) -> Unusable {
    Unusable { needs: needs.into(), hint: hint.into() }
}

impl MicrovmBackend {
    fn missing(&self) -> Unusable {
        let needs = format!("{}, which is not installed", self.vmm.program());
        match self.vmm {
            VmmKind::Qemu => unusable(&needs, "apt-get install qemu-system-x86"),
            VmmKind::Firecracker => unusable(
                &needs,
                "put firecracker and jailer of one official release on PATH (github.com/firecracker-microvm/firecracker)",
            ),
        }
    }

    /// The version of the VMM, if it is one that will do.
    fn ask_version(&self, program: &Path) -> Result<String, Unusable> {
        let (name, least) = match self.vmm {
            VmmKind::Qemu => ("QEMU", QEMU_MIN),
            VmmKind::Firecracker => ("Firecracker", FIRECRACKER_MIN),
        };
        version_of(program, name, least)
    }

    /// What is to be told of its machines where their VMM is in no jail, and why it is in none.
    pub(crate) fn unjailed(&self) -> Option<String> {
        let why = (self.vmm == VmmKind::Firecracker).then(|| self.locate_jail().err()).flatten()?;
        Some(format!("its VMM is not in Firecracker's jail ({why})"))
    }

    /// What Firecracker's jail is made by, or why there can be none.
    fn locate_jail(&self) -> Result<JailTools, &'static str> {
        if !is_root() {
            return Err("only root can have it made");
        }
        let find = |name: &str| locate(name, &self.settings.search_path);
        let jailer = find("jailer").ok_or("jailer is not installed beside it")?;
        let unshare = find("unshare").ok_or("unshare is not installed: apt-get install util-linux")?;
        Ok(JailTools { jailer, unshare })
    }

    /// The jailer of this version, where we are root and it is beside its VMM or elsewhere on the path.
    fn find_jail(&self, version: &str) -> Result<Option<JailTools>, Unusable> {
        if self.vmm != VmmKind::Firecracker {
            return Ok(None);
        }
        let Ok(tools) = self.locate_jail() else { return Ok(None) };
        let found = version_of(&tools.jailer, "Jailer", FIRECRACKER_MIN)?;
        if found != version {
            let needs = format!("jailer and firecracker of one version, and they are {found} and {version}");
            return Err(unusable(&needs, "install both from one release"));
        }
        Ok(Some(tools))
    }
}

/// What locks a VMM in.
#[derive(Debug, Clone)]
pub(crate) struct JailTools {
    pub(crate) jailer: PathBuf,
    pub(crate) unshare: PathBuf,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The version that a program tells: `QEMU emulator version 7.2.22 (…)`, `Firecracker v1.12.0`, `Jailer v1.12.0`.
fn version_of(program: &Path, name: &str, least: (u32, u32)) -> Result<String, Unusable> {
    let install = format!("install {name} {}.{} or newer", least.0, least.1);
    let said =
        Program::new(program).and_then(|program| program.argument("--version").output(VERSION_DEADLINE));
    let said = said.map_err(|why| {
        unusable(&format!("{name}, and {} does not tell its version: {why}", program.display()), &install)
    })?;
    let told = |word: &&str| word.trim_start_matches('v').starts_with(|letter: char| letter.is_ascii_digit());
    let version = said.split_whitespace().skip_while(|word| *word != name).find(told).unwrap_or_default();
    let version = version.trim_start_matches('v');
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    let found: Option<(u32, u32)> = numbers.next().zip(numbers.next());
    match found {
        Some(found) if found >= least => Ok(version.to_owned()),
        Some(_) => Err(unusable(
            &format!("{name} {}.{} or newer, and this is {version}", least.0, least.1),
            &install,
        )),
        None => Err(unusable(&format!("{name}, and {} is something else", program.display()), &install)),
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
            version_of(&path, "QEMU", QEMU_MIN).map_err(|unusable| unusable.needs)
        };
        assert_eq!(told("QEMU emulator version 7.2.22 (Debian 1:7.2)"), Ok("7.2.22".into()));
        assert_eq!(told("QEMU emulator version 10.0.0"), Ok("10.0.0".into()));
        assert!(told("QEMU emulator version 6.2.0").expect_err("old").contains("this is 6.2.0"));
        assert!(told("hello").expect_err("other").contains("something else"));
        assert!(version_of(Path::new("/bin/false"), "QEMU", QEMU_MIN).is_err());
    }
}
