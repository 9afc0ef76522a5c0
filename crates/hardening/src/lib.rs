//! What every Linux container gets, whoever makes it.
//!
//! Architecture invariant: what is allowed is data, or compiled from data, and none of it is read from anywhere at run
//! time. Who makes a container decides how it is said; what is said has this one home.

pub mod etc;
pub mod layout;
pub mod limits;
pub mod lists;
pub mod seccomp;
