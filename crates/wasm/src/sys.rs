//! What is unsafe: taking machine code as it is, and compiling for a processor by naming what it can do.

use wasmtime::{Config, Engine, Module};

/// Makes a module of machine code that this program has compiled before.
///
/// Wasmtime checks that the code was made by its own version for this processor, and nothing else. That nobody but the
/// user has written it is what [`cache`](crate::cache) makes sure of: the folder and the file are his and nobody else
/// can write to them, and the code is that of the digest in its name.
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: `code` was made by this engine just now, or read from a file that only this user can write to and that
    // `cache` wrote.
    unsafe { Module::deserialize(engine, code) }
}

/// Lets the compiler use what this processor can do, which is one of Cranelift's names.
pub(crate) fn enable(config: &mut Config, feature: &str) {
    // SAFETY: whoever loads the code compares what it needs with his processor, and refuses it.
    unsafe { config.cranelift_flag_enable(feature) };
}
