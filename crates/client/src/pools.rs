//! Typed calls about warm sandboxes.

use agentkernel_api as api;
use hyper::Method;

use crate::exchange::Request;
use crate::path::RequestPath;
use crate::{Client, Result};

impl Client {
    /// The pools.
    pub async fn pools(&self) -> Result<api::PoolStats> {
        self.json(Request::get(RequestPath::new("/v1/pools"))).await
    }

    /// Sets how many sandboxes of a kind are to be warm.
    pub async fn set_pool(&self, request: &api::PoolRequest) -> Result<api::PoolStats> {
        self.json(Request::new(Method::PUT, RequestPath::new("/v1/pools")).json(request)?).await
    }

    /// Stops warm sandboxes.
    pub async fn drain_pools(&self, request: &api::DrainRequest) -> Result<api::DrainReply> {
        self.json(Request::post(RequestPath::new("/v1/pools/drain")).json(request)?).await
    }
}
