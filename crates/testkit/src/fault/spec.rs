//! Descriptions of sandboxes, bent before they reach the backend behind.

use agentkernel_core::{
    ByteSize, CpuCount, Limit, Limits, Result, SandboxName, SandboxSpec, SandboxSpecBuilder,
};

use super::Fault;

/// The description with the fault's limit out of reach, or without what the fault ignores.
pub fn bent(spec: &SandboxSpec, fault: Fault) -> Result<SandboxSpec> {
    let limits = *spec.limits();
    let other = match fault {
        // Out of reach of the rules, and still bounded: these run on machines that others use.
        Fault::MemoryLimitIsIgnored => Limits { memory: Limit::At(ByteSize::mib(1024)), ..limits },
        Fault::PidsLimitIsIgnored => Limits { pids: Limit::At(512), ..limits },
        Fault::DiskLimitIsIgnored => Limits { disk: ByteSize::mib(64), ..limits },
        Fault::OpenFilesLimitIsIgnored => Limits { open_files: 512, ..limits },
        Fault::CpuLimitIsIgnored => Limits { cpus: Limit::At(CpuCount::whole(4)), ..limits },
        Fault::LifetimeIsIgnored => return copy(spec, spec.name().clone()).lifetime(None).build(),
        Fault::MountIsIgnored => return without_mounts(spec),
        Fault::WarmUpIsIgnored => {
            return with_mounts(copy(spec, spec.name().clone()), spec).warm_up(None).build();
        }
        _ => return Ok(spec.clone()),
    };
    with_mounts(copy(spec, spec.name().clone()).limits(other), spec).build()
}

pub fn renamed(spec: &SandboxSpec, name: SandboxName) -> Result<SandboxSpec> {
    with_mounts(copy(spec, name), spec).build()
}

pub fn without_mounts(spec: &SandboxSpec) -> Result<SandboxSpec> {
    copy(spec, spec.name().clone()).build()
}

/// Everything but the mounts.
fn copy(spec: &SandboxSpec, name: SandboxName) -> SandboxSpecBuilder {
    SandboxSpec::builder(name, spec.profile())
        .image(spec.image().clone())
        .emulate(spec.emulate())
        .limits(*spec.limits())
        .user(spec.user())
        .lifetime(spec.lifetime())
        .host_socket(spec.host_socket().cloned())
        .warm_up(spec.warm_up().cloned())
}

fn with_mounts(builder: SandboxSpecBuilder, spec: &SandboxSpec) -> SandboxSpecBuilder {
    spec.mounts().iter().cloned().fold(builder, SandboxSpecBuilder::mount)
}
