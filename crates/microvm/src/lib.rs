//! The boundary of a micro VM: a kernel of its own under QEMU's `microvm` machine, and our agent as its first process.
//!
//! ```text
//! MicrovmBackend::boot
//!   layout: pure data ──▶ initramfs: agent, modules of the kernel, steps, the description's files
//!   plan: pure data   ──▶ argv ──▶ VMM, as a user of its own, filtered by itself, which ends with us
//!   QMP ◀── unix socket ── VMM       stream ◀── unix socket ── virtio-serial ── guest agent = PID 1
//!   renewal: random numbers, clock, name, machine id ──▶ agent ──▶ evidence; then it gives its rights up
//! VmBoundary::stop ──▶ QMP quit, else kill; wait until nothing is left
//! ```
//!
//! A machine waits for its renewal as soon as all is there that those of its description have in common. A snapshot is taken
//! of one that waits and is then ended; every machine that continues from it is renewed as one that was booted is.
//!
//! The kernel is the distribution's own, taken from its package by [`setup`]. The root is a read-only device, made of a
//! folder without privileges and kept by its digest; all that can be written lies in the guest's memory.
//!
//! Architecture invariants:
//! - What a machine is, is decided by [`plan`] and [`layout`], pure functions, and nowhere else.
//! - There is no network device, and no way to ask for one.
//! - A machine without hardware virtualisation is no security boundary: it is made only where that was asked for.
//! - No machine is handed out that has not shown that it was renewed, and none of which a snapshot was taken.
//! - The VMM ends with the thread that holds it, by the kernel's hand; QEMU's sockets have no names once it has called,
//!   and Firecracker's lie where nobody else may enter.

mod alarm;
mod api;
mod backend;
mod boundary;
mod control;
mod cpio;
mod folder;
mod group;
mod image;
mod kept;
mod kernel;
pub mod layout;
mod line;
mod log;
pub mod plan;
mod posture;
mod probe;
mod qmp;
mod renewal;
mod selection;
pub mod setup;
mod snapshot;
mod sparse;
mod state;
mod usage;
mod vmm;

pub use backend::{MicrovmBackend, MicrovmSettings};
pub use kernel::{Kernel, KernelStore};
