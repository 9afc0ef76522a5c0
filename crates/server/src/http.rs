//! The API over HTTP: what is asked becomes a call, and what comes of it becomes a reply.

mod archive;
mod body;
mod caller;
mod calls;
mod check;
mod events;
mod exec;
mod files;
mod host;
mod logs;
mod processes;
mod refusals;
mod reply;
mod router;
mod runs;
mod sandboxes;
mod shapes;
mod snapshots;

pub mod listen;
pub mod pools;

pub use router::openapi;
