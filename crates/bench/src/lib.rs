//! Measures container runtimes on the bundle of our sandboxes, and refuses what cannot be believed.
//!
//! ```text
//!          plan ──▶ orders, shuffled by a stored seed          pure
//!            │
//!  Executor ◀┘  one order ─▶ one sample, or a refusal          the only part that does anything
//!            │
//!         results ─▶ statistics ─▶ table, JSON, methodology    pure
//! ```
//!
//! Architecture invariants:
//! - A sample whose exit code or output is wrong has no time: it ends the run, and its figure does not exist.
//! - Before anything is timed, the isolation of each target is proven, and the proof is stored beside the samples.
//! - Whatever a target leaves on the host is an error, and is removed.
//! - What a target cannot tell is "not captured" with its reason, never zero.

pub mod cli;
pub mod environment;
pub mod executor;
pub mod image;
pub mod measure;
pub mod plan;
pub mod proof;
pub mod random;
pub mod refusal;
pub mod report;
pub mod results;
pub mod sandbox;
pub mod self_test;
pub mod statistics;
pub mod suite;
mod text;
pub mod workload;
pub mod workplace;
