//! Typed calls about sandboxes and the commands in them. A sandbox is called by its id or its name.

use agentkernel_api as api;

use crate::exchange::{Request, ask, ask_soon};
use crate::path::RequestPath;
use crate::{Client, CommandStream, Connection, Download, Error, Result};

impl Client {
    /// Makes a sandbox, and returns once commands can be run in it.
    pub async fn create(&self, request: &api::SandboxRequest) -> Result<api::Sandbox> {
        self.json(Request::post(RequestPath::new("/v1/sandboxes")).json(request)?).await
    }

    /// Our sandboxes that live; with `all`, also those that have ended and are remembered.
    pub async fn list(&self, all: bool) -> Result<api::SandboxList> {
        let path = RequestPath::new("/v1/sandboxes");
        self.json(Request::get(if all { path.query("all", "true") } else { path })).await
    }

    /// One of our sandboxes, even if it has ended.
    pub async fn sandbox(&self, id: &str) -> Result<api::Sandbox> {
        match self.json(Request::get(RequestPath::sandbox(id))).await {
            // What is known of it comes with the refusal.
            Err(Error::Refused(error)) => match error.sandbox {
                Some(sandbox) => Ok(*sandbox),
                None => Err(Error::Refused(error)),
            },
            answer => answer,
        }
    }

    /// Ends a sandbox, and forgets it.
    pub async fn remove(&self, id: &str) -> Result<()> {
        self.done(Request::delete(RequestPath::sandbox(id))).await
    }

    /// Makes a sandbox again that has ended, to the same description.
    pub async fn start(&self, id: &str) -> Result<api::Sandbox> {
        self.json(Request::post(RequestPath::sandbox(id).then("/start"))).await
    }

    /// Ends a sandbox, and remembers it.
    pub async fn stop(&self, id: &str) -> Result<api::Sandbox> {
        self.json(Request::post(RequestPath::sandbox(id).then("/stop"))).await
    }

    /// Lets time stand still in a sandbox.
    pub async fn pause(&self, id: &str) -> Result<api::Sandbox> {
        self.json(Request::post(RequestPath::sandbox(id).then("/pause"))).await
    }

    /// Lets time go on.
    pub async fn resume(&self, id: &str) -> Result<api::Sandbox> {
        self.json(Request::post(RequestPath::sandbox(id).then("/resume"))).await
    }

    /// Changes how long a sandbox may live.
    pub async fn set_timeout(&self, id: &str, request: &api::TimeoutRequest) -> Result<api::Sandbox> {
        self.json(Request::post(RequestPath::sandbox(id).then("/timeout")).json(request)?).await
    }

    /// What a sandbox uses now.
    pub async fn stats(&self, id: &str) -> Result<api::SandboxStats> {
        self.json(Request::get(RequestPath::sandbox(id).then("/stats"))).await
    }

    /// Every control of a sandbox, as the host reads it now.
    pub async fn posture(&self, id: &str) -> Result<api::Posture> {
        self.json(Request::get(RequestPath::sandbox(id).then("/posture"))).await
    }

    /// Runs a command, and returns once it has ended, with its output.
    pub async fn exec(&self, id: &str, request: &api::CommandRequest) -> Result<api::CommandResult> {
        let request = Request::post(RequestPath::sandbox(id).then("/exec")).json(request)?;
        ask(&self.address, request).await?.json().await
    }

    /// Starts a command that goes on without a client.
    pub async fn exec_in_background(
        &self,
        id: &str,
        request: &api::CommandRequest,
    ) -> Result<api::ProcessInfo> {
        let request = api::CommandRequest { background: true, ..request.clone() };
        self.json(Request::post(RequestPath::sandbox(id).then("/exec")).json(&request)?).await
    }

    /// Runs a command as a stream.
    pub async fn exec_stream(&self, id: &str, request: &api::CommandRequest) -> Result<CommandStream> {
        let connection = Connection::open(&self.address).await?;
        let path = RequestPath::sandbox(id).then("/exec/stream");
        CommandStream::open(self, connection, &path, Some(request)).await
    }

    /// The stream of a background command. Dropping it leaves the command.
    pub async fn attach(&self, id: &str, pid: u32) -> Result<CommandStream> {
        let connection = Connection::open(&self.address).await?;
        let path = RequestPath::sandbox(id).then(&format!("/processes/{pid}/stream"));
        CommandStream::open::<()>(self, connection, &path, None).await
    }

    /// Commands of a sandbox that run, or ended not long ago.
    pub async fn processes(&self, id: &str) -> Result<Vec<api::ProcessInfo>> {
        self.json(Request::get(RequestPath::sandbox(id).then("/processes"))).await
    }

    /// One of them.
    pub async fn process(&self, id: &str, pid: u32) -> Result<api::ProcessInfo> {
        self.json(Request::get(RequestPath::sandbox(id).then(&format!("/processes/{pid}")))).await
    }

    /// Sends a command a signal.
    pub async fn signal(&self, id: &str, pid: u32, request: api::SignalRequest) -> Result<()> {
        let path = RequestPath::sandbox(id).then(&format!("/processes/{pid}/signal"));
        self.done(Request::post(path).json(&request)?).await
    }

    /// What background commands of a sandbox have said; with `follow`, also what they will.
    pub async fn logs(&self, id: &str, follow: bool) -> Result<Download> {
        let path = RequestPath::sandbox(id).then("/logs");
        let path = if follow { path.query("follow", "true") } else { path };
        Ok(Download::new(ask_soon(&self.address, Request::get(path)).await?))
    }
}
