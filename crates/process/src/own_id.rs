//! The user that a program of root's runs as which holds a machine: an id that nobody else has while it runs.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The ids that are drawn from: the last that are positive numbers, above every range that a distribution hands out, and
/// above those of the embedded containers.
const FIRST: u32 = 2_147_352_576;
const COUNT: u32 = 131_000;

/// How many are tried: each that is taken is one of some hundred machines.
const TRIALS: usize = 64;

/// The whole range of ids, as the kernel tells it outside of every user namespace.
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// An id of its own. It is free again when this is dropped, or its holder is gone.
#[derive(Debug)]
pub struct OwnId {
    id: u32,
    /// A name that the kernel gives once.
    _name: UnixListener,
}

impl OwnId {
    /// Takes one, where we are root outside of every user namespace; elsewhere there are none to be had, and the program
    /// runs as we do.
    ///
    /// # Errors
    /// Those that were tried are taken, or there is no chance to try.
    pub fn take() -> io::Result<Option<Self>> {
        let map = fs::read_to_string("/proc/self/uid_map")?;
        let is_whole = map.split_whitespace().eq(ALL_IDS);
        if !rustix::process::geteuid().is_root() || !is_whole {
            return Ok(None);
        }
        for _ in 0..TRIALS {
            let mut bytes = [0; 4];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
            let id = FIRST + u32::from_ne_bytes(bytes) % COUNT;
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("agentkernel-vmm-{id}"))?) {
                Ok(name) => return Ok(Some(Self { id, _name: name })),
                Err(why) if why.kind() == io::ErrorKind::AddrInUse => {}
                Err(why) => return Err(why),
            }
        }
        Err(io::Error::other("all ids for VMMs that were tried are taken"))
    }

    /// It.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_of_one_holder_at_a_time_and_only_roots() {
        let taken: Vec<_> = (0..50).map(|_| OwnId::take().expect("a free one")).collect();
        if !rustix::process::geteuid().is_root() {
            assert!(taken.iter().all(Option::is_none));
            return;
        }
        let ids: BTreeSet<u32> = taken.iter().flatten().map(OwnId::get).collect();
        assert!(ids.len() == taken.len() || ids.is_empty(), "{ids:?}");
        for id in ids {
            assert!((FIRST..FIRST + COUNT).contains(&id));
            let again = SocketAddr::from_abstract_name(format!("agentkernel-vmm-{id}")).expect("a name");
            assert!(UnixListener::bind_addr(&again).is_err(), "{id} can be taken twice");
        }
    }
}
