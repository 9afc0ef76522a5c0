//! The boundary of Wasm modules, run by Wasmtime in this process.
//!
//! ```text
//! WasmBackend::boot ──▶ Program: read, compiled or taken from the cache, its imports linked   (shared, immutable)
//! WasmSandbox::exec ──▶ an instance of its own in a store of its own ──▶ _start, as a task ──▶ events
//! WasmSandbox::call ──▶ the same ──▶ the function, at once
//! ```
//!
//! A module sees its arguments, its variables, clocks, random bytes and three streams. It has no files, no network and no
//! threads, because nothing of that kind is given to it; its memory is limited by the store, and its time by the engine's
//! epochs, at which it gives the processor back.
//!
//! Architecture invariants:
//! - No instance is used twice, by commands or by calls: what one leaves in its memory is gone with it.
//! - All that is shared between sandboxes is immutable: the engine, compiled code, the list of imports.
//! - What a field of the description asks for is enforced here or refused by its name (`refusals`).
//! - It is a boundary of software alone: whoever gets out of Wasmtime has what this process has.

mod backend;
mod cache;
mod call;
mod cpu;
mod guest;
mod machine;
mod machine_code;
mod process;
mod program;
mod refusals;
mod sandbox;
mod streams;
mod sys;
mod ticker;
mod trial;
mod values;
mod workers;

pub use agentkernel_instance::{IS_STILL, MODULE};
pub use backend::WasmBackend;
pub use cache::is_ours_alone;
pub use machine_code::MachineCode;
pub use program::{is_module, module_file};
