//! The host end against the guest agent that is embedded, as a process of this machine: no boundary,
//! the same stream.

mod adoption;
mod commands;
mod door;
mod embedded;
mod files;
mod measure;
mod real_guest;
