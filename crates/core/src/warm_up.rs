//! The command that a sandbox runs once before anybody gets it.

use std::fmt;
use std::time::Duration;

use crate::{Command, Error, ErrorKind, Exited, OutputStream, ProcessEvent, Result, Sandbox, SandboxSpec};

/// How long it may take. A sandbox that waits for ever to be handed out is of no use to anybody.
const DEADLINE: Duration = Duration::from_secs(60);

/// Most of its complaint that is told, bytes: the end of it.
const COMPLAINT_MAX: usize = 512;

/// A command that a sandbox runs once before anybody gets it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WarmUp {
    /// Its words.
    pub argv: Vec<Vec<u8>>,
    /// For whom: what it draws at random is no secret to whoever gets another sandbox that goes on from this one, and those
    /// are his alone.
    pub owner: String,
}

/// In one line, for a person.
impl fmt::Display for WarmUp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.argv.iter().map(|word| word.escape_ascii().to_string()).collect();
        out.write_str(&words.join(" "))
    }
}

/// Runs what the description wants to have run once, as the sandbox's user, without input; what it leaves, files and
/// processes, stays. Does nothing where nothing is wanted.
///
/// # Errors
/// It cannot be started, fails, or takes longer than a minute. The sandbox is then none that may be handed out.
pub async fn warm_up(sandbox: &dyn Sandbox, spec: &SandboxSpec) -> Result<()> {
    let Some(warm_up) = spec.warm_up() else { return Ok(()) };
    let failed = |why: String| {
        let error = Error::new(ErrorKind::WarmUp, "warm the sandbox up", why);
        error.on(warm_up).hint("run it as a command, to see all that it says")
    };
    let command = Command { timeout: Some(DEADLINE), ..Command::new(warm_up.argv.iter().cloned()) };
    let (exited, complaint) = run(sandbox, &command).await.map_err(|error| match error.kind {
        ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable | ErrorKind::CommandRefused => {
            failed(error.to_string())
        }
        // It is not the command's fault.
        _ => error,
    })?;
    if exited.timed_out {
        return Err(failed(format!("it takes longer than {} s{complaint}", DEADLINE.as_secs())));
    }
    if !exited.status.is_success() {
        return Err(failed(format!("it ended with {}{complaint}", exited.status)));
    }
    Ok(())
}

/// Runs it to its end, and keeps the end of what it complains of, behind a colon.
async fn run(sandbox: &dyn Sandbox, command: &Command) -> Result<(Exited, String)> {
    let mut process = sandbox.exec(command).await?;
    let mut complaint = Vec::new();
    loop {
        match process.next().await? {
            ProcessEvent::Output(OutputStream::Stderr, bytes) => {
                complaint.extend_from_slice(&bytes);
                let surplus = complaint.len().saturating_sub(COMPLAINT_MAX);
                complaint.drain(..surplus);
            }
            ProcessEvent::Exited(exited) => {
                let said = String::from_utf8_lossy(&complaint);
                let said = said.trim();
                let told = if said.is_empty() { String::new() } else { format!(": {said}") };
                return Ok((exited, told));
            }
            ProcessEvent::Output(OutputStream::Stdout, _) => {}
        }
    }
}
