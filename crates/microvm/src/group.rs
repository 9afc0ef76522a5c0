//! The control group of a VMM on the host: what it may use there, whatever has become of it.
//!
//! A guest keeps to its limits by groups of its own kernel. These hold the VMM, its threads and whoever locked it in, once
//! a guest has taken it over.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agentkernel_cgroup::{CgroupPlan, Group, Hierarchy, has_swap};
use agentkernel_core::Control;
use rustix::fs::statfs;
use sha2::{Digest as _, Sha256};

use crate::kernel::hex;
use crate::plan::{Accelerator, TRANSLATION_MIB, VmPlan, VmmKind};

/// Memory that a VMM may use beside its guest's, MiB: some twenty times what Firecracker does, and twice what QEMU does.
/// What it has read and written counts as well, and goes when there is need.
fn own_mib(vmm: VmmKind) -> u64 {
    match vmm {
        VmmKind::Firecracker => 128,
        VmmKind::Qemu => 256,
    }
}

/// Threads and processes that it may have beside one for each of its guest's processors. QEMU reads and writes files by up to
/// 64 (`util/thread-pool.c`); Firecracker has two, and three processes are around its jail.
fn own_pids(vmm: VmmKind) -> u64 {
    match vmm {
        VmmKind::Firecracker => 16,
        VmmKind::Qemu => 96,
    }
}

/// Processors that it may use beside its guest's: one, for all that it does for them.
const OWN_PROCESSORS: u64 = 1;

/// What it may write beside its guest's memory to one file, MiB: the state of its devices.
const STATE_MIB: u64 = 64;

/// File systems that are memory: tmpfs and ramfs, in `linux/magic.h`.
const KEPT_IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// The largest file that a VMM may write, bytes: a snapshot.
pub(crate) fn file_max(vm: &VmPlan) -> u64 {
    (vm.memory_mib + STATE_MIB) << 20
}

/// The groups of all machines whose folders are in one.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    hierarchy: Hierarchy,
    /// In their names, so that those of equal names under different homes do not meet.
    owner: String,
    /// Whether what a VMM writes down is kept in memory, which is its own then.
    in_memory: bool,
}

impl Groups {
    /// None where this user may make none. Snapshots are kept below `home`.
    pub(crate) fn of(hierarchy: &Hierarchy, above: &Path, home: &Path) -> Option<Self> {
        let owner = owner_of(above);
        let in_memory = || statfs(home).is_ok_and(|facts| KEPT_IN_MEMORY.contains(&facts.f_type));
        hierarchy.can_limit().then(|| Self { hierarchy: hierarchy.clone(), owner, in_memory: in_memory() })
    }

    fn name(&self, machine: &OsStr) -> String {
        self.hierarchy.name(&format!("agentkernel-vm-{}-{}", self.owner, machine.display()))
    }

    /// Ends and removes what is left of a machine's that nobody holds any more.
    pub(crate) fn forget(&self, machine: &OsStr) -> io::Result<()> {
        self.hierarchy.group(&self.name(machine)).end()
    }

    /// Makes that of a machine whose name the caller holds.
    pub(crate) fn make(&self, vm: &VmPlan) -> io::Result<VmmGroup> {
        let plan = plan(vm, self.in_memory, self.name(OsStr::new(vm.name.as_str())));
        let made = VmmGroup { group: self.hierarchy.group(&plan.path), plan };
        // From here on an error drops it, which removes what there is of it.
        made.group.create(&made.plan.resources(has_swap()))?;
        made.group.prove(&made.plan).map_err(io::Error::other)?;
        Ok(made)
    }
}

/// What is in the names of the groups of machines whose folders are in this one.
fn owner_of(above: &Path) -> String {
    hex(&Sha256::digest(above.as_os_str().as_bytes())[..4])
}

/// What the group of such a machine allows.
fn plan(vm: &VmPlan, in_memory: bool, path: String) -> CgroupPlan {
    let processors = u64::from(vm.processors);
    let translation = if vm.accelerator == Accelerator::Tcg { TRANSLATION_MIB.into() } else { 0 };
    let snapshot = if in_memory { vm.memory_mib + STATE_MIB } else { 0 };
    let memory_mib = vm.memory_mib + own_mib(vm.vmm) + translation + snapshot;
    CgroupPlan {
        path,
        memory_bytes: Some(memory_mib << 20),
        cpu_milli: Some((processors + OWN_PROCESSORS) * 1000),
        pids: Some(processors + own_pids(vm.vmm)),
    }
}

/// The group of one VMM. Dropping it ends what is in it, and removes it.
#[derive(Debug)]
pub(crate) struct VmmGroup {
    group: Group,
    plan: CgroupPlan,
}

impl VmmGroup {
    /// The files by which a process of one thread gets into it: it writes 0.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        self.group.entrances()
    }

    /// Ends all that is in it.
    pub(crate) fn kill_all(&self) -> io::Result<()> {
        self.group.kill_all()
    }

    /// What the kernel did to it for want of memory, if it did.
    pub(crate) fn out_of_memory(&self) -> Option<String> {
        let most = self.plan.memory_bytes.unwrap_or_default() >> 20;
        (self.group.out_of_memory_kills() > 0).then(|| {
            format!(
                "it wanted more than the {most} MiB of the host's memory that a machine of its size may use"
            )
        })
    }

    /// What it allows now, and who is in it.
    pub(crate) fn controls(&self, vmm: i32) -> Vec<Control> {
        let told = self.group.prove(&self.plan).err().unwrap_or_else(|| "as planned".into());
        let place = if self.group.holds(vmm, &self.plan.path) { "its own" } else { "another one" };
        vec![
            Control::exact("vmm.group", "its own", place),
            Control::exact("vmm.group.limits", "as planned", told),
        ]
    }
}

impl Drop for VmmGroup {
    fn drop(&mut self) {
        // What cannot be removed now is by the next who makes a machine.
        self.group.end().ok();
    }
}

#[cfg(test)]
mod tests {
    use agentkernel_core::SandboxName;

    use super::*;
    use crate::plan::Beginning;

    fn machine(vmm: VmmKind, accelerator: Accelerator) -> VmPlan {
        VmPlan {
            name: SandboxName::from_random(7),
            vmm,
            jailed: false,
            accelerator,
            counter_khz: None,
            sparse: true,
            gives_back: true,
            memory_mib: 512,
            processors: 2,
            user: 7,
            beginning: Beginning::Boot,
        }
    }

    #[test]
    fn a_vmm_may_use_its_guests_memory_and_some_of_its_own() {
        let limits = |vmm, accelerator| {
            let plan = plan(&machine(vmm, accelerator), false, "/x".into());
            (plan.memory_bytes.map(|bytes| bytes >> 20), plan.cpu_milli, plan.pids)
        };
        assert_eq!(limits(VmmKind::Firecracker, Accelerator::Kvm), (Some(640), Some(3000), Some(18)));
        assert_eq!(limits(VmmKind::Qemu, Accelerator::Kvm), (Some(768), Some(3000), Some(98)));
        assert_eq!(limits(VmmKind::Qemu, Accelerator::Tcg), (Some(1024), Some(3000), Some(98)));
        let all = plan(&machine(VmmKind::Firecracker, Accelerator::Kvm), true, "/x".into());
        assert_eq!(all.memory_bytes.map(|bytes| bytes >> 20), Some(640 + 512 + 64), "and its snapshot");
        assert_eq!(file_max(&machine(VmmKind::Qemu, Accelerator::Kvm)), 576 << 20);
    }

    #[test]
    fn machines_of_one_name_under_different_homes_have_different_groups() {
        let (hierarchy, in_memory) = (Hierarchy::None("a test".into()), false);
        let name = |above: &str| {
            let groups =
                Groups { hierarchy: hierarchy.clone(), owner: owner_of(Path::new(above)), in_memory };
            groups.name(OsStr::new("one"))
        };
        assert_ne!(name("/a"), name("/b"));
        assert!(name("/a").starts_with("/agentkernel-vm-") && name("/a").ends_with("-one"), "{}", name("/a"));
    }
}
