//! What lies between a request and its report.
//!
//! ```text
//! config: layers ──▶ Settings ──▶ RunRequest ──▶ run: choose ─▶ boot ─▶ exec ─▶ stop ──▶ RunReport
//!                                                       │
//!                                              registry: every backend
//! ```
//!
//! Architecture invariants:
//! - Nothing here touches the terminal, the home folder or the environment: the caller says it all.
//! - [`registry`] is the only file that names every backend.
//! - What is decided ([`choice`], [`config`]) is pure and does nothing; what does something decides nothing.
//! - Whatever was booted is stopped before [`run()`] returns, whatever happened in between.

pub mod call;
pub mod choice;
pub mod config;
pub mod doctor;
pub mod registry;
pub mod run;

pub use agentkernel_kvm::hardware as has_hardware_virtualisation;
pub use agentkernel_wasm::{is_module, module_file};
pub use call::{CallReport, CallRequest, call};
pub use choice::{BackendRequest, Choice};
pub use registry::Registry;
pub use run::{Ending, OutputCount, RunIo, RunOutput, RunReport, RunRequest, RunSignal, run};
