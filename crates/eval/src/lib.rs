//! Interpreters as Wasm modules: how they are made, where they are kept, and the words that run code in them.
//!
//! ```text
//! setup ──▶ javascript: sources fetched by cargo ─▶ clang ─▶ snapshot ─┐
//!       └─▶ python: a package of npm or PyPI ─▶ its digest ────────────┴─▶ Store: LANGUAGE.wasm, LANGUAGE.json
//! eval  ──▶ Store::ready ─▶ a module's path, and Language::arguments     (what runs it is the backend `wasm`)
//! ```
//!
//! Architecture invariants:
//! - Nothing is downloaded but by a package manager, by the name and version of a package whose digest is known here.
//! - What a package brings is compiled or unpacked and never run on the host: no build script, no install script.
//! - A snapshot depends on the module alone: its initialiser sees no clock, no randomness and nothing else of the host.

#![forbid(unsafe_code)]

mod frames;
mod javascript;
mod language;
mod python;
pub mod setup;
mod snapshot;
mod store;
mod tools;
mod workshop;

pub use language::{Code, Language};
pub use setup::Installed;
pub use snapshot::snapshot;
pub use store::{Interpreter, Store};
