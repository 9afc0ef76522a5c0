//! Builds the guest agent and leaves it where `src/guest.rs` embeds it.

use std::process::ExitCode;

use agentkernel_nested::Nested;

/// The agent. Its build number is that of both ends of the stream.
const GUEST: Nested = Nested {
    package: "agentkernel-guest",
    profile: "guest",
    sources: &[
        "crates/guest/Cargo.toml",
        "crates/guest/src",
        "crates/hypercalls/Cargo.toml",
        "crates/hypercalls/src",
        "crates/protocol/Cargo.toml",
        "crates/protocol/src",
    ],
    id: "AGENTKERNEL_GUEST_BUILD",
};

fn main() -> ExitCode {
    agentkernel_nested::main(&GUEST)
}
