//! The client against a small server, which behaves as well, or as badly, as it is told.

mod calls;
mod files;
mod streams;
mod support;
