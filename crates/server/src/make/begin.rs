//! A sandbox is acquired, or goes on from a snapshot, and is written down.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{self as api, ErrorKind, State};
use agentkernel_core::{Backend, Evidence, Process, Restored, Sandbox};
use agentkernel_pool::{Lease, Origin, Pool};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Plan;
use crate::clock::{self, StoredDeadline};
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::fate::{Fate, Verdict};
use crate::keeper;
use crate::store::Row;

/// What has just come to be.
pub(super) struct Begun {
    pub(super) sandbox: Box<dyn Sandbox>,
    /// Commands that ran in the snapshot that it goes on from.
    pub(super) commands: Vec<Box<dyn Process>>,
}

/// Acquires the sandbox and writes it down, before and after.
pub(super) async fn begin(
    daemon: &Arc<Daemon>,
    plan: &Plan,
    view: &watch::Sender<api::Sandbox>,
    fate: &Fate,
) -> Outcome<Begun> {
    let run = view.borrow().run;
    if !run {
        write_down(daemon, plan, view).await?;
    }
    let (backend, pool) = daemon.backend(plan.choice.backend)?;
    let begun = tokio::select! {
        begun = acquire(&*backend, &pool, plan, view) => begun?,
        verdict = fate.decided() => return Err(gone(view, verdict)),
    };
    let sandbox = &begun.sandbox;
    let keeps = async {
        if let Some(timeout) = plan.timeout {
            keeper::set_lifetime(&**sandbox, timeout).await?;
        }
        if !run {
            // Written down first: a sandbox that outlives the daemon must be known to the next one.
            write_down(daemon, plan, view).await?;
            if backend.capabilities().adopt {
                sandbox.persist().await?;
            }
        }
        Ok(())
    };
    match keeps.await {
        Ok(()) => Ok(begun),
        Err(failure) => {
            if let Err(error) = begun.sandbox.stop().await {
                tracing::error!(%error, "something of a sandbox that was not made may be left");
            }
            Err(failure)
        }
    }
}

/// Leases the sandbox, or has it go on from its snapshot.
async fn acquire(
    backend: &dyn Backend,
    pool: &Pool,
    plan: &Plan,
    view: &watch::Sender<api::Sandbox>,
) -> Outcome<Begun> {
    let Some(from) = &plan.from else {
        let lease = pool.acquire(&plan.spec).await.map_err(too_busy)?;
        tell(plan, view, &lease);
        return Ok(Begun { sandbox: lease.into_sandbox(), commands: Vec::new() });
    };
    let Restored { sandbox, commands, evidence, ready } = backend.restore(&plan.spec, from).await?;
    tell_restored(plan, view, &evidence, ready);
    Ok(Begun { sandbox, commands })
}

/// Writes into the view that it goes on from a snapshot.
fn tell_restored(plan: &Plan, view: &watch::Sender<api::Sandbox>, evidence: &Evidence, ready: Duration) {
    let total = clock::nanoseconds(ready);
    view.send_modify(|sandbox| {
        sandbox.state = State::Running;
        sandbox.host_name = Some(plan.spec.name().to_string());
        sandbox.deadline_ms = plan.timeout.map(|timeout| clock::wall_ms_at(Instant::now() + timeout));
        sandbox.phases = api::Phases { ready_ns: Some(total), total_ns: Some(total), ..Default::default() };
        sandbox.origin = Some(api::Origin::Restored);
        sandbox.renewal = Some(api::Renewal {
            boot_id: evidence.boot_id.clone(),
            random_sample: evidence.random_sample.clone(),
            clock_error_ns: clock::nanoseconds(evidence.clock_error),
        });
    });
}

/// Writes into the view what the lease is.
fn tell(plan: &Plan, view: &watch::Sender<api::Sandbox>, lease: &Lease) {
    let deadline_ms = plan.timeout.map(|timeout| clock::wall_ms_at(Instant::now() + timeout));
    view.send_modify(|sandbox| {
        sandbox.state = State::Running;
        sandbox.host_name = Some(lease.sandbox().name().to_string());
        sandbox.deadline_ms = deadline_ms;
        sandbox.phases = convert::phases(&lease.phases);
        sandbox.origin = Some(match lease.origin {
            Origin::Warm { .. } => api::Origin::Warm,
            Origin::Cold { .. } => api::Origin::Cold,
        });
    });
}

async fn write_down(daemon: &Daemon, plan: &Plan, view: &watch::Sender<api::Sandbox>) -> Outcome<()> {
    let sandbox = view.borrow().clone();
    let deadline = plan.timeout.map(StoredDeadline::after);
    daemon.store.put(Row { sandbox, request: plan.request.clone(), deadline }).await
}

/// The pool's own queue is full or slow: later is better.
fn too_busy(error: agentkernel_core::Error) -> Failure {
    let is_queue = error.kind == agentkernel_core::ErrorKind::Timeout;
    let failure = Failure::from(error);
    if !is_queue {
        return failure;
    }
    Failure { kind: ErrorKind::Busy, retry_after: Some(Duration::from_secs(5)), ..failure }
}

fn gone(view: &watch::Sender<api::Sandbox>, verdict: Verdict) -> Failure {
    let mut sandbox = view.borrow().clone();
    (sandbox.cause, sandbox.detail) = (Some(verdict.cause), Some(verdict.detail));
    Failure::gone(&sandbox)
}
