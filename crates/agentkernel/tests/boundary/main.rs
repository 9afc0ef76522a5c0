//! The embedded boundary on this host: the contract, the posture with its negative controls, the attack
//! probe with its positive controls, the workloads, and what is left afterwards.

mod attacks;
mod conformance;
mod leaks;
mod posture;
mod rootless;
mod support;
mod workloads;
