//! Hostile bytes for the guest's decoder.

#![no_main]

#[path = "../check.rs"]
mod check;

use agentkernel_protocol::{Direction, ToGuest};

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::any_bytes::<ToGuest>(Direction::ToGuest, data));
