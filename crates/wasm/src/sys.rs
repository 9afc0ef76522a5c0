//! The one unsafe step: taking machine code from the cache.

use wasmtime::{Engine, Module};

/// Makes a module of machine code that this program has compiled before.
///
/// Wasmtime checks that the code was made by its own version for this processor, and nothing else. That nobody but the
/// user has written it is what [`cache`](crate::cache) makes sure of: the folder and the file are his and nobody else
/// can write to them, and the code is that of the digest in its name.
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: `code` was read from a file that only this user can write to and that `cache` wrote.
    unsafe { Module::deserialize(engine, code) }
}
