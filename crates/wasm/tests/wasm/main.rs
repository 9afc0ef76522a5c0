//! Modules, run through the doors.

mod calls;
mod commands;
mod fixture;
mod hostile;
mod limits;
mod loading;
mod measure;
mod mutations;
