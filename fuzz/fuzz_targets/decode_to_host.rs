//! Hostile bytes for the host's decoder.

#![no_main]

#[path = "../check.rs"]
mod check;

use agentkernel_protocol::{Direction, ToHost};

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::any_bytes::<ToHost>(Direction::ToHost, data));
