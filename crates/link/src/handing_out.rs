//! What is left to do before a sandbox that has come up may be handed out.

use agentkernel_core::{Error, ErrorKind, Posture, Result, Sandbox as _, SandboxSpec};

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

    /// Serves the socket of the host that the description has, if it has one. If that fails, the sandbox is stopped.
    pub async fn with_host_socket(self, spec: &SandboxSpec) -> Result<Self> {
        let Some(socket) = spec.host_socket() else { return Ok(self) };
        match self.open_socket(socket).await {
            Ok(()) => Ok(self),
            Err(error) => {
                Box::new(self).stop().await?;
                Err(error)
            }
        }
    }
}
