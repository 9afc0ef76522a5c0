//! What the tests of every crate share.
//!
//! - [`conformance`] is the one suite that every backend must pass, rule by rule of its contract.
//! - [`FakeBackend`] runs commands as plain host processes; [`FaultyBackend`] breaks one rule of any
//!   backend, so that every rule is seen red once.
//! - [`leaks`] counts what a test left on the host.
//! - [`listen`] collects what a command says.
//! - [`TestEngine`] is a container engine of a test's own; [`TestApple`] stands in for Apple's `container` on one.
//! - [`TestEnvironment`] runs the program under test away from the user's home and environment.
//! - [`available_or_skip`] and [`tool_or_skip`] skip loudly, and fail where a skip is not allowed.

mod apple;
pub mod conformance;
mod engine;
mod environment;
mod fake;
mod fault;
mod lab;
pub mod leaks;
mod noise;
mod python;
mod require;
mod said;

pub use apple::TestApple;
pub use engine::{TestEngine, unmount_all_below};
pub use environment::{Finished, ORDINARY_USER, TestEnvironment, as_ordinary_user};
pub use fake::FakeBackend;
pub use fault::{EXPECTATIONS, Expectation, Fault, FaultyBackend};
pub use lab::{in_kvm_lab, tests_hold_in_kvm_lab};
pub use noise::{noise, random_u64};
pub use python::python_package;
pub use require::{available_or_skip, other_runtimes, tool_or_skip};
pub use said::{Said, listen};
