//! What holds of every instance of a Wasm module, in our process (`agentkernel-wasm`) and in a machine
//! (`agentkernel-guest-wasm`): what it may import, how it ends, and its numbers.

mod end;
mod imports;
mod numbers;
mod settings;

pub use end::{Ended, cause};
pub use imports::imports;
pub use numbers::{from_text, to_text};
pub use settings::{OUTSIDE_BYTES, STACK_BYTES, TABLE_ELEMENTS_MAX, of_machine};

/// What is called of a command.
pub const START: &str = "_start";

/// What runs once before a module's functions may be called, if it exports it: a library's own start.
pub const INITIALIZE: &str = "_initialize";

/// Where a machine has the machine code of its module.
pub const MODULE: &str = "module";

/// What is beside it if an instance of it does nothing until it is called, and may be made before the machine's snapshot.
pub const IS_STILL: &str = "module.is-still";
