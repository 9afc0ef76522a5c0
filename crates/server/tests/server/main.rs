//! The daemon over HTTP, on the fake backend.

mod client;
mod daemon;

mod commands;
mod files;
mod front_door;
mod lifecycle;
mod limits;
mod nonsense;
mod openapi;
mod pools;
mod restart;
mod runs;
mod shutdown;
mod snapshots;
mod streams;
mod tenants;
