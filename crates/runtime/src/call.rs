//! One call of a function, from its request to its report: choose, boot, call, stop.

use std::time::Instant;

use agentkernel_core::{Booted, Call, Phases, Result, Returned, SandboxSpec};

use crate::choice::{BackendRequest, Choice};
use crate::registry::Registry;
use crate::run::{both, phases, stop};

/// What is to be called, and in what.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// Which backend.
    pub backend: BackendRequest,
    /// The sandbox, which holds a module.
    pub spec: SandboxSpec,
    /// The call.
    pub call: Call,
    /// When the work for it began: the total counts from here.
    pub began: Instant,
}

/// A call that returned.
#[derive(Debug, Clone, PartialEq)]
pub struct CallReport {
    /// In which backend, and why.
    pub choice: Choice,
    /// What it returned.
    pub returned: Returned,
    /// Where the time went.
    pub phases: Phases,
}

/// Calls one function in a sandbox of its own, which is stopped before this returns.
pub async fn call(registry: &Registry, request: &CallRequest) -> Result<CallReport> {
    let choice = registry.choose(request.backend, &request.spec).await?;
    let backend = registry.get(choice.backend)?;
    let Booted { sandbox, boot, ready } = backend.boot(&request.spec).await?;
    let exec_began = Instant::now();
    let returned = sandbox.call(&request.call).await;
    let exec = exec_began.elapsed();
    let (stopped, stop) = stop(sandbox).await;
    let (returned, _) = both(returned, stopped)?;
    let phases = phases([boot, ready, exec, stop], request.began);
    Ok(CallReport { choice, returned, phases })
}
