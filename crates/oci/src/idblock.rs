//! User-id blocks: every sandbox of root has 65,536 ids of the host to itself.

use std::io;
use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};

use crate::lock::LockFile;
use crate::paths;

/// First id of the first block.
///
/// systemd's table of ids (UIDS-GIDS.md) leaves 1879048192 to 2147352575 unused: above its own
/// container range, below the ids whose 31-bit handling is doubtful.
const FIRST: u32 = 1_879_048_192;

/// Ids of a block, as many as a 16-bit id can name.
pub(crate) const BLOCK_SIZE: u32 = 65_536;

/// Blocks that fit into the unused range.
const BLOCKS: u32 = 4_094;

/// A block that no other live sandbox has.
#[derive(Debug)]
pub struct IdBlock {
    /// Host id of the sandbox's id 0.
    pub first_id: u32,
    /// Held until the sandbox is gone.
    pub(crate) lock: LockFile,
}

impl IdBlock {
    /// A block for a sandbox that is made otherwise than by [`crate::OciBackend`]: no sandbox of that gets it meanwhile.
    pub fn borrow() -> Result<Self> {
        allocate(std::process::id(), crate::record::reap)
    }

    /// Gives it back, once nobody runs with its ids any more.
    pub fn give_back(self) -> io::Result<()> {
        self.lock.remove()
    }
}

/// Takes a free block. Begins at a random one, so that a block rests before it is used again.
///
/// `reap` is called with what an owner wrote who did not clean up after himself; the block is used
/// only if it succeeds.
pub(crate) fn allocate(start: u32, reap: impl Fn(&[u8]) -> io::Result<()>) -> Result<IdBlock> {
    let folder = Path::new(paths::ID_BLOCKS);
    let failed =
        |why: io::Error| Error::new(ErrorKind::Host, "take a block of user ids", why).on(folder.display());
    paths::make_private(folder).map_err(failed)?;
    for offset in 0..BLOCKS {
        let block = start.wrapping_add(offset) % BLOCKS;
        let Some(mut lock) = LockFile::acquire(&folder.join(block.to_string())).map_err(failed)? else {
            continue;
        };
        let left = lock.content().map_err(failed)?;
        if left.is_empty() || reap(&left).is_ok() {
            return Ok(IdBlock { first_id: FIRST + block * BLOCK_SIZE, lock });
        }
    }
    Err(failed(io::Error::other(format!("all {BLOCKS} blocks are in use"))).hint("stop some sandboxes"))
}
