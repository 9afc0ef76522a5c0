//! The agent as a whole: the built program, run by an ordinary user on this machine over a socket
//! pair, by a host that knows nothing but the protocol.

/// What every agent is told beside what its test is about.
const WORDS: &[&str] = &[];

mod calls;
mod client;
mod door;
mod exec;
mod faults;
mod files;
mod folders;
mod hanging;
mod init;
mod launch;
mod porter;
mod request;
mod resumption;
mod stop;
mod streams;
mod survival;
mod tars;
mod terminal;
