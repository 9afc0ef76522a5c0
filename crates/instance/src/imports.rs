//! What a module may import.

use wasmtime::{Engine, Linker, Result};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::preview1::{self, WasiP1Ctx};

/// WASI preview 1, of the context that is in a store.
pub fn imports<T: Send + 'static>(
    engine: &Engine,
    wasi: impl Fn(&mut T) -> &mut WasiP1Ctx + Copy + Send + Sync + 'static,
) -> Result<Linker<T>> {
    let mut linker = Linker::new(engine);
    preview1::add_to_linker_async(&mut linker, wasi)?;
    // Wasmtime's own traps where an exit code is above 125, which every system has.
    linker.allow_shadowing(true);
    let exit = |code: i32| -> Result<()> { Err(I32Exit(code).into()) };
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", exit)?;
    Ok(linker)
}
