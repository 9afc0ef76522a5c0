//! How an instance ends.

use wasmtime::{Error, Result, Trap};
use wasmtime_wasi::I32Exit;

/// How a command has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code: the low eight bits, as every system does it.
    Code(u8),
    /// By a trap, for this reason.
    Trapped(String),
}

impl Ended {
    /// Of what `_start` has returned; whether it was refused more memory is asked only if that explains something.
    pub fn of(result: &Result<()>, was_out_of_memory: impl FnOnce() -> bool) -> Self {
        let Err(why) = result else { return Self::Code(0) };
        match why.downcast_ref::<I32Exit>() {
            Some(exit) => Self::Code(exit.0.to_le_bytes()[0]),
            None => Self::Trapped(cause(why, was_out_of_memory())),
        }
    }
}

/// Why an instance did not do what it was to do, in one sentence.
#[must_use]
pub fn cause(why: &Error, was_out_of_memory: bool) -> String {
    let mut cause = match (why.downcast_ref::<Trap>(), why.downcast_ref::<I32Exit>()) {
        (Some(trap), _) => trap.to_string(),
        (None, Some(exit)) => format!("it ended itself with exit code {}", exit.0),
        (None, None) => why.root_cause().to_string(),
    };
    if was_out_of_memory {
        cause.push_str("; it had been refused more memory than its limit");
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_a_byte_and_a_trap_says_why() {
        assert_eq!(Ended::of(&Ok(()), || true), Ended::Code(0));
        assert_eq!(Ended::of(&Err(I32Exit(256 + 7).into()), || true), Ended::Code(7));
        let Ended::Trapped(why) = Ended::of(&Err(Trap::MemoryOutOfBounds.into()), || true) else {
            panic!("it has no code")
        };
        assert_eq!(
            why,
            "wasm trap: out of bounds memory access; it had been refused more memory than its limit"
        );
    }
}
