//! A command that does nothing, for a sandbox that waits to be used.

use agentkernel_core::{Command, Error, ErrorKind, ExitStatus, ProcessEvent, Result};

use crate::exec::ExecDefaults;
use crate::link::Link;

/// How often a sandbox rehearses. Under gVisor each of its threads makes a thread of its own in each process that it
/// serves, and which ones that are is chance: once is not enough.
const TIMES: usize = 3;

/// Does what [`agentkernel_core::Sandbox::rehearse`] promises; nothing where the boundary has not said what.
pub(crate) async fn rehearse(link: &Link, defaults: &ExecDefaults) -> Result<()> {
    let Some(argv) = &defaults.rehearsal else { return Ok(()) };
    for _ in 0..TIMES {
        let mut process = link.exec(&Command::new(argv.iter().cloned()), defaults).await?;
        let status = loop {
            if let ProcessEvent::Exited(exited) = process.next().await? {
                break exited.status;
            }
        };
        if status != ExitStatus::Code(0) {
            let why = format!("it ended with {status:?}");
            return Err(Error::new(ErrorKind::Boot, "rehearse a command", why));
        }
    }
    Ok(())
}
