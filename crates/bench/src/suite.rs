//! The program's own benchmarks: what a user waits for, of our backends, of others' tools and of the bare host.
//!
//! ```text
//!   plan ──▶ rounds, shuffled by a stored seed           pure
//!     │
//!  Subject ◀┘ one task ─▶ one sample, or a refusal       the only part that does anything
//!     │
//!  Document ─▶ table  and comparison                    pure
//! ```
//!
//! What is wrong has no time (it ends the run with exit code 3), and what cannot run here is a row that says why.

pub mod benchmark;
pub mod compare;
pub mod document;
pub mod interrupt;
pub mod machine;
pub mod measure;
pub mod methodology;
pub mod page;
pub mod plot;
pub mod recommend;
pub mod record;
pub mod self_test;
pub mod session;
pub mod stored;
pub mod subject;
pub mod table;

pub use benchmark::{Benchmark, Plan};
pub use document::Document;
pub use interrupt::Interrupt;
