//! The program with a daemon: every run as without one, and the whole life of a sandbox.

#[path = "../program/daemon.rs"]
mod daemon;
#[path = "../program/eval.rs"]
mod eval;
#[path = "../program/exec.rs"]
mod exec;
#[path = "../program/inspect.rs"]
mod inspect;
#[path = "../program/interpreters.rs"]
mod interpreters;
#[path = "../program/json.rs"]
mod json;
#[path = "../program/limits.rs"]
mod limits;
#[path = "../program/modules.rs"]
mod modules;
#[path = "../program/signals.rs"]
mod signals;
#[path = "../program/sockets.rs"]
mod sockets;
#[path = "../program/streams.rs"]
mod streams;
#[path = "../program/support.rs"]
#[expect(dead_code, reason = "the tests without a daemon use the rest")]
mod support;
#[path = "../program/terminal.rs"]
mod terminal;
#[path = "../program/warm_up.rs"]
mod warm_up;

mod background;
mod containers;
mod copies;
mod faults;
mod life;
mod named;
mod pools;
mod service;
mod serving;
mod survival;
mod traces;
mod warmth;
mod ways;

/// Whether a daemon runs the commands.
const BY_DAEMON: bool = true;
