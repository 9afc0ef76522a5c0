//! What a machine is made of, and what a snapshot of it is called.

use std::fs;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Image, Result, SandboxName, SandboxSpec};
use rustix::fs::statvfs;

use super::MicrovmBackend;
use super::initramfs::Initramfs;
use crate::image::ImageStore;
use crate::kept::Fit;
use crate::layout::{self, Size};
use crate::plan::{Beginning, VmPlan, VmmKind};
use crate::probe::Tools;
use crate::snapshot::Key;

/// What a machine is made of, before anything is taken for it.
pub(super) struct Parts {
    pub(super) tools: Tools,
    size: Size,
    pub(super) root: PathBuf,
    pub(super) initramfs: Initramfs,
    /// `/proc/cpuinfo`, which takes a host of many processors milliseconds to tell.
    cpuinfo: String,
    /// Whether Firecracker knows which memory its guest has touched.
    sparse: bool,
}

impl Parts {
    /// The name of the snapshot of such a machine: of all that it is made of, and of what made it.
    pub(super) fn key(&self, vmm: VmmKind, spec: &SandboxSpec, kernel: &Path) -> Key {
        // Neither its name nor its user is in the machine.
        let plan = VmPlan { name: no_name(), ..self.plan(vmm, spec, 0, Beginning::Boot) };
        let Tools { version, kernel: about, program, .. } = &self.tools;
        let words = words(&plan);
        let [root, kernel, program] =
            [&self.root, kernel, program].map(|path| path.as_os_str().as_encoded_bytes());
        let parts = [words.as_bytes(), version.as_bytes(), about.sha256.as_bytes(), root, kernel, program];
        let processor = processor(&self.cpuinfo);
        Key::of(parts.into_iter().chain(self.initramfs.identity()).chain([processor.as_bytes()]))
    }

    /// What it has in common with all that may continue from it once it is used.
    pub(super) fn fit(&self, plan: &VmPlan) -> Fit {
        let plan = VmPlan { name: no_name(), user: 0, beginning: Beginning::Restore, ..plan.clone() };
        let words = words(&plan);
        let Tools { program, version, .. } = &self.tools;
        let (program, version) = (program.clone(), version.clone());
        Fit { program, version, processor: processor(&self.cpuinfo), words }
    }

    /// What the VMM is asked for.
    pub(super) fn plan(&self, vmm: VmmKind, spec: &SandboxSpec, user: u32, beginning: Beginning) -> VmPlan {
        VmPlan {
            name: spec.name().clone(),
            vmm,
            jailed: self.tools.jail.is_some(),
            accelerator: self.tools.accelerator,
            counter_khz: counter_khz(&self.cpuinfo),
            sparse: self.sparse,
            gives_back: gives_back(vmm, &self.tools),
            memory_mib: self.size.memory_mib,
            processors: self.size.processors,
            user,
            beginning,
        }
    }
}

/// Whether a guest can tell which memory is free: Firecracker hears it since 1.14.
fn gives_back(vmm: VmmKind, tools: &Tools) -> bool {
    tools.kernel.has_balloon() && (vmm == VmmKind::Qemu || is_since(&tools.version, (1, 14)))
}

/// All that the VMM is told of the machine: its words, and what Firecracker is asked for when it boots one.
fn words(plan: &VmPlan) -> String {
    let mut words = plan.argv().join("\0");
    if plan.vmm == VmmKind::Firecracker {
        let boots = VmPlan { beginning: Beginning::Boot, ..plan.clone() };
        words.extend(boots.requests().iter().map(|request| format!("{request:?}")));
    }
    words
}

/// Of any machine.
fn no_name() -> SandboxName {
    SandboxName::from_random(0)
}

/// What a guest may have seen of the processor.
fn processor(cpuinfo: &str) -> String {
    let is_told =
        |line: &&str| ["model name", "stepping", "microcode", "flags"].iter().any(|of| line.starts_with(of));
    // Of the first one: they are alike.
    cpuinfo.lines().take_while(|line| !line.is_empty()).filter(is_told).collect::<Vec<_>>().join("\n")
}

impl MicrovmBackend {
    /// Decides what the machine is made of.
    pub(super) async fn parts(&self, spec: &SandboxSpec) -> Result<Parts> {
        let size = layout::size(spec)?;
        let tools = self.tools(spec.emulate())?;
        let root = root_device(&tools, spec).await?;
        let initramfs = self.initramfs(&tools, spec)?;
        Ok(Self::parts_of(tools, size, root, initramfs))
    }

    /// The parts of one that continues with this disk; all else is in its memory.
    pub(super) fn parts_in_use(&self, spec: &SandboxSpec, root: PathBuf) -> Result<Parts> {
        Ok(Self::parts_of(self.tools(spec.emulate())?, layout::size(spec)?, root, Initramfs::default()))
    }

    fn parts_of(tools: Tools, size: Size, root: PathBuf, initramfs: Initramfs) -> Parts {
        let told = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let block = statvfs(&tools.home).map_or(u64::MAX, |facts| facts.f_frsize);
        let sparse = knows_what_was_touched(&tools.version, &told("/proc/meminfo"), block);
        Parts { tools, size, root, initramfs, cpuinfo: told("/proc/cpuinfo"), sparse }
    }
}

/// The least part of a machine's memory that is touched or not, bytes.
const PAGE: u64 = 4096;

/// Whether Firecracker knows which memory its guest has touched, and a file can show it: it asks the kernel what is in memory
/// (1.13), which is not all of it where there is swap; and a file whose blocks are larger than pages holds data around each.
fn knows_what_was_touched(version: &str, meminfo: &str, block: u64) -> bool {
    let swap = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    is_since(version, (1, 13)) && block <= PAGE && swap.is_some_and(|swap| swap.trim() == "0 kB")
}

/// Whether a version is this one or a later one.
fn is_since(version: &str, first: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= first)
}

/// Frequency of the time stamp counter, kHz: Linux tells its own loops, of which there are two in each of its ticks, in
/// millions a second (`arch/x86/kernel/cpu/proc.c`).
fn counter_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("bogomips"))?;
    let (whole, part) = line.split_once(':')?.1.trim().split_once('.')?;
    let hundredths = part.get(..2)?.parse::<u64>().ok()? + whole.parse::<u64>().ok()?.checked_mul(100)?;
    Some(hundredths * 5).filter(|khz| *khz > 0)
}

async fn root_device(tools: &Tools, spec: &SandboxSpec) -> Result<PathBuf> {
    let (image, images) = (spec.image().clone(), ImageStore::below(&tools.home, &tools.mke2fs));
    if let Image::Rootfs(folder) = &image
        && let Some(found) = images.found(folder)
    {
        return Ok(found);
    }
    let make = move || match image {
        Image::Rootfs(folder) => images.of_folder(&folder),
        // Others than the host's programs were refused.
        _ => images.of_programs(Path::new("/usr")),
    };
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|why| Error::new(ErrorKind::Internal, "make the root device", why))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_is_known_by_new_versions_where_nothing_is_swapped() {
        let without = "MemTotal: 1 kB\nSwapTotal:             0 kB\n";
        let knows = |version, meminfo| knows_what_was_touched(version, meminfo, PAGE);
        assert!(knows("1.13.0", without) && knows("2.0.1", without));
        assert!(!knows("1.12.9", without));
        assert!(!knows("1.13.0", "SwapTotal: 4 kB\n") && !knows("1.13.0", ""));
        assert!(!knows_what_was_touched("1.13.0", without, 2 * PAGE), "blocks that are larger than pages");
    }

    #[test]
    fn the_counters_frequency_is_half_of_what_linux_tells() {
        assert_eq!(counter_khz("cpu MHz\t\t: 1.0\nbogomips\t: 5192.28\n"), Some(2_596_140));
        assert_eq!(counter_khz("bogomips\t: 5192\n"), None);
        assert_eq!(counter_khz(""), None);
    }
}
