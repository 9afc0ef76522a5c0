//! The pool, held to its word on a backend that does what the test says, and on the fake.

#![cfg(not(loom))]

mod care;
mod end;
mod fake;
mod leases;
mod limits;
mod measure;
mod model;
mod refill;
mod resize;
mod stub;
