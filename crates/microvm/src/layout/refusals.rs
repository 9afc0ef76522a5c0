//! What a machine cannot be, each refused with the name of what was asked for.

use agentkernel_core::{ByteSize, CpuCount, Error, ErrorKind, Limit, Result, SandboxSpec};

/// Memory that the guest's kernel and the agent need beside the sandbox's own, MiB, and the part of that which they need
/// besides, for the table of pages and what the kernel keeps back. Debian's 6.1 took 69 MiB of a guest of 192, 130 of 640,
/// 190 of 2176 and 344 of 4224 (the guest's size without `MemAvailable` once the agent answered); there is some to spare, so
/// that a sandbox meets its own limit before the machine's end.
const KERNEL_MIB: u64 = 128;
const KERNEL_PART: u64 = 16;

/// Fewest memory of a sandbox, MiB: programs are read into it.
const MEMORY_MIN_MIB: u64 = 16;

/// Size of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Memory of the guest, MiB.
    pub memory_mib: u64,
    /// Processors of the guest.
    pub processors: u32,
}

/// The size of the machine for this description, or why there can be none.
pub fn size(spec: &SandboxSpec) -> Result<Size> {
    spec.image().refuse_unless_files()?;
    if let Some(mount) = spec.mounts().first() {
        return Err(refused("nothing of the host's files is shown to a machine")
            .on(format!("mount {}", mount.source().display()))
            .hint("copy the files in (agentkernel cp), or use --backend oci"));
    }
    if spec.user().uid == 0 || spec.user().gid == 0 {
        return Err(refused("root's rights in a machine are not limited yet")
            .on(format!("user {}", spec.user()))
            .hint("leave --user out, or use --backend oci"));
    }
    let memory = spec.limits().memory;
    let Limit::At(memory) = memory else {
        return Err(refused("a machine has a fixed size").on("memory unlimited").hint("name a size"));
    };
    if memory < ByteSize::mib(MEMORY_MIN_MIB) {
        let why = format!("programs need {MEMORY_MIN_MIB}M");
        return Err(refused(why).on(format!("memory {memory}")).hint("name a higher one"));
    }
    let Limit::At(cpus) = spec.limits().cpus else {
        return Err(refused("a machine has a number of processors")
            .on("cpus unlimited")
            .hint("name a number"));
    };
    let own_mib = memory.get().div_ceil(1 << 20);
    let memory_mib = own_mib + KERNEL_MIB + own_mib.div_ceil(KERNEL_PART);
    Ok(Size { memory_mib, processors: whole(cpus) })
}

/// Of a part of a processor, the rest is held back by the guest's kernel.
fn whole(cpus: CpuCount) -> u32 {
    cpus.as_milli().div_ceil(1000)
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::ControlRefused, "start the sandbox", why)
}
