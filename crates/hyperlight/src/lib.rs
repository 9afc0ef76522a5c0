//! The boundary of micro VMs without a Linux kernel: Hyperlight makes the machine, Unikraft is the kernel in it, and a
//! helper program of ours holds both.
//!
//! ```text
//! HyperlightBackend::boot ──▶ agentkernel-hyperlight, a process for each sandbox
//!                                root ──▶ archive ──▶ machine, booted ──▶ snapshot        (before any command)
//! HyperlightSandbox::exec ──▶ a machine restored from that snapshot ──▶ the command ──▶ restored again, or destroyed
//! ```
//!
//! Architecture invariants:
//! - No machine has run anything but one command since it was restored; one that crashed, or was killed, is destroyed.
//! - Nothing of Hyperlight is linked into this crate: it speaks to the helper by the words of [`wire`].
//! - What a field of the description asks for is enforced here or refused by its name (`refusals`).
//! - Programs are the kernel's equals in their machine (Unikraft has one address space): the boundary is the processor's
//!   virtualisation, and nothing inside.

mod backend;
mod call;
mod helper;
mod life;
mod posture;
mod process;
mod refusals;
mod sandbox;
pub mod wire;

pub use backend::{HELPER, HyperlightBackend};
