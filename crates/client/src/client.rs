//! Typed calls to the daemon: about itself, and runs.

use agentkernel_api as api;
use serde::de::DeserializeOwned;

use crate::exchange::{Request, ask, ask_soon};
use crate::path::RequestPath;
use crate::{Address, CommandStream, Connection, Download, EventStream, Result};

/// A daemon that can be asked. Cheap to clone: every call makes a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) address: Address,
}

impl Client {
    /// The daemon at this address, whether it is there or not: the first call will say.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// The daemon at this address, which takes connections.
    pub async fn connect(address: Address) -> Result<Self> {
        Connection::open(&address).await?;
        Ok(Self { address })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it takes requests.
    pub async fn health(&self) -> Result<api::Health> {
        self.json(Request::get(RequestPath::new("/v1/health"))).await
    }

    /// What it is.
    pub async fn info(&self) -> Result<api::Info> {
        self.json(Request::get(RequestPath::new("/v1/info"))).await
    }

    /// Its metrics, in the text form of Prometheus.
    pub async fn metrics(&self) -> Result<Download> {
        Ok(Download::new(ask_soon(&self.address, Request::get(RequestPath::new("/metrics"))).await?))
    }

    /// Tells it to end; it says so before it does.
    pub async fn shut_down(&self, mode: api::ShutdownMode) -> Result<()> {
        let request = Request::post(RequestPath::new("/v1/shutdown")).json(&api::ShutdownRequest { mode })?;
        self.done(request).await
    }

    /// What happens to sandboxes from now on.
    pub async fn events(&self) -> Result<EventStream> {
        let reply = ask_soon(&self.address, Request::get(RequestPath::new("/v1/events"))).await?;
        Ok(EventStream::new(Download::new(reply)))
    }

    /// Runs a command in a sandbox of its own, and returns once it has ended, with its output.
    pub async fn run(&self, request: &api::RunRequest) -> Result<api::CommandResult> {
        let request = Request::post(RequestPath::new("/v1/runs")).json(request)?;
        ask(&self.address, request).await?.json().await
    }

    /// Calls a function in a sandbox of its own, and returns what it returned.
    pub async fn call(&self, request: &api::CallRequest) -> Result<api::CallResult> {
        let request = Request::post(RequestPath::new("/v1/calls")).json(request)?;
        ask(&self.address, request).await?.json().await
    }

    /// Runs a command in a sandbox of its own, as a stream.
    pub async fn run_stream(&self, request: &api::RunRequest) -> Result<CommandStream> {
        self.run_stream_on(Connection::open(&self.address).await?, request).await
    }

    /// The same on a connection that was made before.
    pub async fn run_stream_on(
        &self,
        connection: Connection,
        request: &api::RunRequest,
    ) -> Result<CommandStream> {
        CommandStream::open(self, connection, &RequestPath::new("/v1/runs/stream"), Some(request)).await
    }

    /// Asks for something that does not wait for a command.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        ask_soon(&self.address, request).await?.json().await
    }

    pub(crate) async fn done(&self, request: Request) -> Result<()> {
        ask_soon(&self.address, request).await?.done().await
    }
}
