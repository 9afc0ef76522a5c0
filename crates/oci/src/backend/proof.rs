//! That a sandbox is as planned, before anybody gets it.

use agentkernel_core::{Error, ErrorKind, Posture, Result, Sandbox as _};
use agentkernel_link::LinkedSandbox;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Reads the posture beside what else there is to do. In a runtime of one thread, which is that of one command, there is
/// nothing, and another thread would cost more than it saves (0.2 ms measured).
pub(super) async fn beside(read: impl FnOnce() -> Posture + Send + 'static) -> Result<Posture> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(read());
    }
    let failed = |why| Error::new(ErrorKind::Internal, "read the posture", why);
    tokio::task::spawn_blocking(read).await.map_err(failed)
}

/// Takes a sandbox that is not as planned down again.
pub(crate) async fn prove(sandbox: LinkedSandbox, posture: &Posture) -> Result<LinkedSandbox> {
    if posture.holds() {
        return Ok(sandbox);
    }
    let broken: Vec<String> = posture
        .broken()
        .map(|control| format!("{} must be {:?}, is {:?}", control.name, control.expected, control.actual))
        .collect();
    let error = Error::new(
        ErrorKind::ControlRefused,
        "start the sandbox",
        "it came up without this control and was taken down again",
    );
    Box::new(sandbox).stop().await?;
    Err(error.on(broken.join("; ")).hint("agentkernel doctor says what this host allows"))
}
