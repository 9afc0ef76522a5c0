//! The vocabulary of agentkernel: what a sandbox is asked to be, what happened to it, and the doors
//! behind which it lives. No I/O: everything here can be made, compared and printed in a test.
//!
//! - [`SandboxSpec`] is the one policy value; it is checked when it is built and carries the proof.
//! - [`Backend`] → [`Boundary`] → [`Sandbox`] → [`Process`] are the doors, outermost first.
//! - [`Error`] is for the person who must act: what, on what, why, and a way out.

#![forbid(unsafe_code)]

mod backend;
mod call;
mod command;
mod death;
mod error;
mod file;
mod kind;
mod no_files;
mod phases;
mod posture;
mod sandbox;
mod signal;
mod snapshot;
mod spec;
mod suggest;
mod units;
mod warm_up;

pub use backend::{Adopted, Availability, Backend, Booted, Boundary, Capabilities, DuplexStream, Ended};
pub use call::{Call, Returned};
pub use command::{Command, CommandUser, ExitStatus, Exited, Stdin, TerminalSize, Usage};
pub use death::CauseOfDeath;
pub use error::{Error, ErrorKind, Result};
pub use file::{ByteSink, ByteSource, FileInfo, FileKind, Files};
pub use kind::BackendKind;
pub use no_files::NoFiles;
pub use phases::Phases;
pub use posture::{Control, Posture};
pub use sandbox::{
    OutputStream, Process, ProcessControl, ProcessEvent, Sandbox, SandboxUsage, SignalTarget, Stopped,
};
pub use signal::SignalAction;
pub use snapshot::{Evidence, HeldGuest, Restored, SnapshotInfo, SnapshotName};
pub use spec::{
    Access, BindMount, FileVersion, HostSocket, Image, ImageName, Limit, Limits, ModuleFile, Network,
    Profile, Resize, SandboxName, SandboxSpec, SandboxSpecBuilder, User,
};
pub use suggest::{nearest, unknown};
pub use units::{ByteSize, CpuCount, parse_duration};
pub use warm_up::{WarmUp, warm_up};
