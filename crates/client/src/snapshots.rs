//! Typed calls about snapshots of sandboxes in use.

use agentkernel_api as api;

use crate::exchange::Request;
use crate::path::RequestPath;
use crate::{Client, Result};

impl Client {
    /// Keeps a sandbox as it is; it goes on.
    pub async fn take_snapshot(&self, id: &str, request: &api::SnapshotRequest) -> Result<api::Snapshot> {
        self.json(Request::post(RequestPath::sandbox(id).then("/snapshots")).json(request)?).await
    }

    /// Makes sandboxes that go on from where one is: all of them, or none.
    pub async fn fork(&self, id: &str, request: &api::ForkRequest) -> Result<api::SandboxList> {
        self.json(Request::post(RequestPath::sandbox(id).then("/fork")).json(request)?).await
    }

    /// Our snapshots, the newest last.
    pub async fn snapshots(&self) -> Result<api::SnapshotList> {
        self.json(Request::get(RequestPath::new(SNAPSHOTS))).await
    }

    /// Makes a sandbox that goes on from a snapshot.
    pub async fn restore(&self, name: &str, request: &api::RestoreRequest) -> Result<api::Sandbox> {
        let path = RequestPath::new(SNAPSHOTS).word(name).then("/sandboxes");
        self.json(Request::post(path).json(request)?).await
    }

    /// Removes a snapshot.
    pub async fn remove_snapshot(&self, name: &str) -> Result<()> {
        self.done(Request::delete(RequestPath::new(SNAPSHOTS).word(name))).await
    }
}

const SNAPSHOTS: &str = "/v1/snapshots";
