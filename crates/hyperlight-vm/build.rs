//! Builds the program of machines that run Wasm modules, and leaves it where `src/root.rs` embeds it.

use std::process::ExitCode;

use agentkernel_nested::Nested;

/// The program.
const GUEST: Nested = Nested {
    package: "agentkernel-guest-wasm",
    profile: "guest-wasm",
    sources: &[
        "crates/guest-wasm/Cargo.toml",
        "crates/guest-wasm/src",
        "crates/hypercalls/Cargo.toml",
        "crates/hypercalls/src",
        "crates/instance/Cargo.toml",
        "crates/instance/src",
    ],
    id: "AGENTKERNEL_GUEST_WASM_BUILD",
};

fn main() -> ExitCode {
    agentkernel_nested::main(&GUEST)
}
