//! What nobody can guess.

use agentkernel_core::{Error, ErrorKind, Result, SandboxName};

/// A name that no other sandbox has.
pub fn random_name() -> Result<SandboxName> {
    random_bytes().map(|bytes: [u8; 8]| SandboxName::from_random(u64::from_le_bytes(bytes)))
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
    Ok(bytes)
}
