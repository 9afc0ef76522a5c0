//! The host end against a guest that is played by the test: what it says, and when, is in the script.

/// Does several things at once, like `tokio::join!`, and fails if they do not all come to an end.
macro_rules! joined {
    ($($future:expr),+ $(,)?) => {
        crate::fake_guest::soon(async { tokio::join!($($future),+) }).await
    };
}

mod adoption;
mod exec;
mod fake_boundary;
mod fake_guest;
mod files;
mod flow;
mod handshake;
mod holding;
mod rules;
mod sandbox;
