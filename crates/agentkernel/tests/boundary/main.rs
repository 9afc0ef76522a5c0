//! The embedded boundary on this host: the posture with its negative controls, the attack probe with its
//! positive controls, the workloads, and the same for an ordinary user.

mod attacks;
mod containers;
mod engines;
mod host;
mod images;
mod least;
mod machines;
mod mounts;
mod overwriting;
mod posture;
mod probe;
mod rootless;
mod sockets;
mod support;
mod workloads;
