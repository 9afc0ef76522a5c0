//! The agent whose programs start in its own memory: all of them do what they do with a copy of it, and whatever happens
//! between their start and their program harms nobody.

#[path = "../agent/client.rs"]
mod client;
#[path = "../agent/door.rs"]
mod door;
#[path = "../agent/exec.rs"]
mod exec;
#[path = "../agent/faults.rs"]
mod faults;
#[path = "../agent/files.rs"]
mod files;
#[path = "../agent/hanging.rs"]
mod hanging;
#[path = "../agent/init.rs"]
mod init;
#[path = "../agent/launch.rs"]
mod launch;
mod memory;
#[path = "../agent/porter.rs"]
mod porter;
#[path = "../agent/request.rs"]
mod request;
#[path = "../agent/resumption.rs"]
mod resumption;
#[path = "../agent/stop.rs"]
mod stop;
#[path = "../agent/streams.rs"]
mod streams;
#[path = "../agent/survival.rs"]
mod survival;
#[path = "../agent/terminal.rs"]
mod terminal;

/// What every agent is told beside what its test is about.
const WORDS: &[&str] = &["--lend-memory"];
