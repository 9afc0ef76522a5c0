//! What KVM is good for here, found by running a guest: that the device is there proves nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(target_arch = "x86_64")]
mod guest;

/// How far a guest comes. What is chosen, and what is said, follows this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "snake_case")]
pub enum KvmLevel {
    /// There is no /dev/kvm.
    NoDevice,
    /// /dev/kvm is there, and this user may not open it.
    NoPermission,
    /// A virtual machine cannot be made, or its processor does not run.
    Broken {
        /// What failed.
        why: String,
    },
    /// A guest runs, but the processor has no hardware virtualisation: the guest's kernel mode is
    /// emulated, so that ordinary guest kernels are slow or do not boot.
    EmulatedKernelMode {
        /// The mark by which it was recognised.
        mark: String,
    },
    /// A guest runs on hardware virtualisation.
    Hardware,
    /// This build does not know how to try on this architecture.
    NotProbed,
}

/// How long the guest's five bytes of program may take.
pub const DEADLINE: Duration = Duration::from_secs(2);

impl KvmLevel {
    /// One line for a person.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::NoDevice => "no /dev/kvm".into(),
            Self::NoPermission => "/dev/kvm is there, but this user may not open it".into(),
            Self::Broken { why } => format!("/dev/kvm is there, but no guest runs: {why}"),
            Self::EmulatedKernelMode { mark } => {
                format!("a guest runs, its kernel mode emulated without hardware virtualisation ({mark})")
            }
            Self::Hardware => "a guest runs on hardware virtualisation".into(),
            Self::NotProbed => "not probed on this architecture".into(),
        }
    }

    /// The way up, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDevice => Some("load the kvm module, or use a machine with (nested) virtualisation"),
            Self::NoPermission => Some("add this user to the group of /dev/kvm: usermod -aG kvm USER"),
            Self::Broken { .. } => Some("see the kernel's log: dmesg | grep -i kvm"),
            Self::EmulatedKernelMode { .. } | Self::Hardware | Self::NotProbed => None,
        }
    }
}

/// Whether guests run on hardware virtualisation; if not, what there is instead.
///
/// # Errors
/// The level that was found, in one line.
pub fn hardware() -> Result<(), String> {
    match probe() {
        KvmLevel::Hardware => Ok(()),
        other => Err(other.describe()),
    }
}

/// Runs a guest, for at most [`DEADLINE`].
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn probe() -> KvmLevel {
    let (sender, receiver) = std::sync::mpsc::channel();
    // A guest that hangs keeps its thread in the kernel; the process can still end.
    let thread = std::thread::Builder::new().name("kvm-probe".into()).spawn(move || sender.send(try_out()));
    match thread.map(|_detached| receiver.recv_timeout(DEADLINE)) {
        Ok(Ok(level)) => level,
        Ok(Err(_)) => {
            KvmLevel::Broken { why: format!("a guest of three instructions hangs for {DEADLINE:?}") }
        }
        Err(why) => KvmLevel::Broken { why: format!("no thread for trying: {why}") },
    }
}

/// Other architectures are not tried.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn probe() -> KvmLevel {
    KvmLevel::NotProbed
}

#[cfg(target_arch = "x86_64")]
fn try_out() -> KvmLevel {
    use rustix::io::Errno;
    match guest::open() {
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => KvmLevel::NoDevice,
        Err(Errno::ACCESS | Errno::PERM) => KvmLevel::NoPermission,
        Err(why) => KvmLevel::Broken { why: format!("open /dev/kvm: {why}") },
        Ok(device) => match guest::run(&device) {
            Err(why) => KvmLevel::Broken { why },
            Ok(()) => match emulation_mark() {
                Some(mark) => KvmLevel::EmulatedKernelMode { mark },
                None => KvmLevel::Hardware,
            },
        },
    }
}

/// The sign that the kernel mode of guests is emulated.
#[cfg(target_arch = "x86_64")]
fn emulation_mark() -> Option<String> {
    if std::path::Path::new("/sys/module/kvm_pvm").exists() {
        return Some("kvm-pvm".into());
    }
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    let has_hardware = flags.split_whitespace().any(|flag| flag == "svm" || flag == "vmx");
    (!has_hardware).then(|| "the processor shows neither svm nor vmx".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_answers_within_its_deadline_and_agrees_with_the_device() {
        let began = std::time::Instant::now();
        let level = probe();
        assert!(began.elapsed() < DEADLINE + Duration::from_secs(1));
        let has_device = std::path::Path::new("/dev/kvm").exists();
        if cfg!(target_arch = "x86_64") {
            assert_eq!(level == KvmLevel::NoDevice, !has_device, "{level:?}");
        }
    }
}
