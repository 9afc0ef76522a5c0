//! Many clients, hostile clients and a long life: the daemon goes on answering, and is no larger afterwards.
//!
//! Each test measures this process, and so runs alone: see [`measure::alone`].

#[path = "../server/client.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod client;
#[path = "../server/daemon.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod daemon;

mod crowds;
mod measure;
mod soak;
