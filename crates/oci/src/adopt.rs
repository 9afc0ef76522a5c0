//! The way back to a sandbox that has outlived whoever held it.
//!
//! ```text
//! record ─▶ socket beside it ─▶ supervisor: Attach, with one end of a new stream ─▶ the agent's door
//!                                  │
//!                                  ▼
//!              Started, and from now on the control socket is ours ─▶ greeting ─▶ posture
//! ```

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use agentkernel_core::{Adopted, Boundary as _, Error, ErrorKind, Result, Sandbox as _, SandboxSpec};
use agentkernel_link::{ExecDefaults, LinkedSandbox};
use tokio::net::UnixStream;

use crate::backend::{BOOT_DEADLINE, async_stream, hello};
use crate::boundary::{OciBoundary, first_report, line_of};
use crate::paths::RuntimeDir;
use crate::record::{self, Record};
use crate::supervisor::{self, Ask};

const GET_BACK: &str = "get the sandbox back";

/// Gets the sandbox back that was made to this description, with its commands. One that was paused is paused again
/// afterwards: its agent needs some milliseconds to answer.
pub(crate) async fn adopt(
    spec: &SandboxSpec,
    runtime: &RuntimeDir,
    defaults: ExecDefaults,
) -> Result<Adopted> {
    let record = record::find(runtime, spec.name())?;
    let hello = hello(&record);
    let (boundary, stream) = enter(record, runtime).await?;
    let was_paused = boundary.is_paused();
    if was_paused {
        boundary.resume().await?;
    }
    let (boundary, stream) = (Box::new(boundary), Box::new(stream));
    let (sandbox, _ready, commands) = LinkedSandbox::adopt(spec, boundary, stream, hello, defaults).await?;
    let posture = sandbox.posture().await?;
    let sandbox = sandbox.proven(&posture).await?;
    if let Some(socket) = spec.host_socket() {
        sandbox.open_socket(socket).await?;
    }
    if was_paused {
        sandbox.pause().await?;
    }
    Ok(Adopted { sandbox: Box::new(sandbox), commands })
}

/// Becomes the holder of the sandbox, and lays a new stream to its agent.
async fn enter(record: Record, runtime: &RuntimeDir) -> Result<(OciBoundary, UnixStream)> {
    let name = record.name.clone();
    let failed = |why: io::Error| Error::new(ErrorKind::Boot, GET_BACK, why).on(&name);
    let control = supervisor::enter(&record::path(runtime, &name)).map_err(|why| match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let why = "it was not made to outlive its holder, or is just ending";
            Error::new(ErrorKind::NoSuchSandbox, GET_BACK, why).on(&name)
        }
        _ => failed(why),
    })?;
    let (stream, their_stream) = StdUnixStream::pair().map_err(failed)?;
    match supervisor::send_with_descriptor(&control, &line_of(Ask::Attach), &their_stream.into()) {
        // It has left already, and said why before: that is read next.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent.map_err(failed)?,
    }
    let (control, stream) = (async_stream(control)?, async_stream(stream)?);
    let (control, pid) = tokio::time::timeout(BOOT_DEADLINE, first_report(control))
        .await
        .map_err(|_| failed(io::Error::other("its supervisor does not answer")))?
        .map_err(|error| error.on(&name))?;
    Ok((OciBoundary::new(control, pid, record, runtime.clone()), stream))
}
