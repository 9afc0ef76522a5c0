//! How Wasmtime is set up.

use wasmtime::Config;

/// Most elements of a table. Interpreters that are compiled to Wasm have some ten thousand functions in theirs.
pub const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Stack of a module, bytes: address space, of which it has what it uses. Interpreters need much of it.
pub const STACK_BYTES: usize = 4 << 20;

/// What is left of the stack for what a module calls outside.
pub const OUTSIDE_BYTES: usize = 1 << 20;

/// Address space of a memory, bytes: all that a module can address, of which a machine has what is used.
const RESERVATION_BYTES: u64 = 4 << 30;

/// The engine in a machine, and the one that compiles for it. The machine's kernel gives no signals for faults and no address
/// space that costs nothing: every access to memory is checked by the code itself.
#[must_use]
pub fn of_machine() -> Config {
    let mut config = Config::new();
    config.async_support(true);
    config.max_wasm_stack(STACK_BYTES).async_stack_size(STACK_BYTES + OUTSIDE_BYTES);
    config.signals_based_traps(false).memory_init_cow(false).guard_before_linear_memory(false);
    config.memory_reservation(RESERVATION_BYTES).memory_may_move(false).memory_guard_size(0);
    config.wasm_backtrace(false).generate_address_map(false);
    config
}
