//! The boundaries of container engines: the attack probe with its positive controls, the posture with its negative ones,
//! and engines that fail.

mod alike;
mod apple;
pub mod apple_fixture;
mod delegated;
mod docker;
mod faults;
pub mod fixture;
mod named;
mod podman;
mod service;
mod weaken;
