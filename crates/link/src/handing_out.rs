//! What is left to do before a sandbox that has come up may be handed out.

use agentkernel_core::{Error, ErrorKind, Posture, Result, Sandbox as _, SandboxSpec, warm_up};

use crate::sandbox::LinkedSandbox;

impl LinkedSandbox {
    /// Takes a sandbox that is not as planned down again, and names each control that is another than it must be.
    pub async fn proven(self, posture: &Posture) -> Result<Self> {
        if posture.holds() {
            return Ok(self);
        }
        let broken: Vec<String> = posture
            .broken()
            .map(|control| {
                format!("{} must be {:?}, is {:?}", control.name, control.expected, control.actual)
            })
            .collect();
        let why = "it came up without this control and was taken down again";
        let error = Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(broken.join("; "));
        Box::new(self).stop().await?;
        Err(error.hint("agentkernel doctor says what this host and its engines allow"))
    }

    /// Runs the command that the description wants to have run once. If that fails, the sandbox is stopped.
    pub async fn warmed_up(self, spec: &SandboxSpec) -> Result<Self> {
        let done = warm_up(&self, spec).await;
        self.or_stopped(done).await
    }

    /// Serves the socket of the host that the description has, if it has one. If that fails, the sandbox is stopped.
    pub async fn with_host_socket(self, spec: &SandboxSpec) -> Result<Self> {
        let done = match spec.host_socket() {
            Some(socket) => self.open_socket(socket).await,
            None => Ok(()),
        };
        self.or_stopped(done).await
    }

    async fn or_stopped(self, done: Result<()>) -> Result<Self> {
        match done {
            Ok(()) => Ok(self),
            Err(error) => {
                Box::new(self).stop().await?;
                Err(error)
            }
        }
    }
}
