//! The file systems of a micro VM, mounted before the agent is ready.

use std::ffi::CString;

use agentkernel_protocol::Mount;
use rustix::mount::MountFlags;

/// Mounts them all in their order; an error says which one failed, and why.
pub fn mount_all(mounts: &[Mount]) -> Result<(), String> {
    mounts.iter().try_for_each(|entry| {
        mount(entry).map_err(|reason| format!("mount {} at {}: {reason}", entry.fstype, entry.target))
    })
}

fn mount(entry: &Mount) -> Result<(), String> {
    std::fs::create_dir_all(&entry.target).map_err(|error| error.to_string())?;
    let flags = u32::try_from(entry.flags).map_err(|_| "flags are out of range".to_owned())?;
    let data = CString::new(entry.data.as_str()).map_err(|error| error.to_string())?;
    let flags = MountFlags::from_bits_retain(flags);
    rustix::mount::mount(&*entry.source, &*entry.target, &*entry.fstype, flags, Some(data.as_c_str()))
        .map_err(|errno| errno.to_string())
}
