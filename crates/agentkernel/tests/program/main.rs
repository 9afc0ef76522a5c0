//! The program as a user meets it: typed words in, text and an exit code out.

mod bench;
mod bench_e2b;
mod cleanup;
mod config;
#[expect(dead_code, reason = "the tests with a daemon use the rest")]
mod daemon;
mod doctor;
mod eval;
mod exec;
mod help;
mod inspect;
mod interpreters;
mod json;
mod limits;
mod modules;
mod runtimes;
mod signals;
mod sockets;
mod streams;
#[expect(dead_code, reason = "the tests with a daemon use the rest")]
mod support;
mod terminal;
mod usage;
mod warm_up;

/// Whether a daemon runs the commands: `tests/daemon` includes these very files with `true`.
const BY_DAEMON: bool = false;
