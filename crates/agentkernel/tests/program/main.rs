//! The program as a user meets it: typed words in, text and an exit code out.

mod config;
mod doctor;
mod exec;
mod help;
mod inspect;
mod json;
mod limits;
mod signals;
mod streams;
mod support;
mod terminal;
mod usage;
