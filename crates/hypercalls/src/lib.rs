//! Calls between a Hyperlight machine and its host.
//!
//! ```text
//! host: call(function, text) ──▶ /dev/hlcall ──▶ Device::next ──▶ what is asked for ──▶ Device::answer
//!                                Device::call(function, text) ──▶ a function of the host's ──▶ its text
//! ```
//!
//! Calls carry text alone, so that bytes travel as hexadecimal digits.

mod device;
mod digits;
mod flatbuffer;
mod ioctl;
mod words;

pub use device::{Call, Device};
pub use digits::{bytes, digits};
pub use words::Words;

/// Bytes that fit into one call, as digits.
pub const CHUNK: usize = 32 << 10;

/// Function of a machine: run a command to its end.
pub const RUN: &str = "run";

/// Function of a machine that has a Wasm module: call a function of it.
pub const CALL: &str = "call";

/// Functions of the host: a command has begun, has written, and wants its stdin.
pub mod host {
    /// It runs.
    pub const STARTED: &str = "started";
    /// Bytes of stdout.
    pub const STDOUT: &str = "out";
    /// Bytes of stderr.
    pub const STDERR: &str = "err";
    /// More of stdin, for which the host may wait this number of milliseconds: bytes, nothing yet, or [`END`].
    pub const STDIN: &str = "in";
    /// There is no more of it.
    pub const END: &str = ".";
}
