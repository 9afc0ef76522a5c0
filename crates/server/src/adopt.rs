//! What the last daemon left: sandboxes that live are got back, the others are told to have ended.

use std::sync::Arc;

use agentkernel_api::{CauseOfDeath, State};
use agentkernel_core::{Adopted, Backend, SandboxName};
use agentkernel_runtime::Choice;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock;
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::fate::Fate;
use crate::make::{Obituary, Plan, settle};
use crate::state::Candidate;
use crate::store::Row;

/// Gets back what lives, and writes down the end of what does not. Returns when all of it has its keeper.
pub async fn adopt(daemon: &Arc<Daemon>, living: Vec<Row>) {
    let mut adopting = JoinSet::new();
    for row in living {
        let daemon = daemon.clone();
        adopting.spawn(async move {
            if let Err(why) = get_back(&daemon, &row).await {
                bury(&daemon, row, why).await;
            }
        });
    }
    while adopting.join_next().await.is_some() {}
}

/// Gets one sandbox back, or says why it cannot be.
async fn get_back(daemon: &Arc<Daemon>, row: &Row) -> Result<(), String> {
    let words = |failure: crate::failure::Failure| failure.error.to_string();
    let Some(host_name) = &row.sandbox.host_name else {
        return Err("the daemon was restarted while it was being made".into());
    };
    let name: SandboxName = host_name.parse()?;
    let (request, spec) = convert::spec(&row.request, name, &row.sandbox.owner).map_err(words)?;
    let kind = daemon.registry.all().iter().map(|backend| backend.kind());
    let kind = kind.into_iter().find(|kind| kind.as_str() == row.sandbox.backend);
    let kind = kind.ok_or_else(|| {
        format!("this build has no backend {}, asked for as {request}", row.sandbox.backend)
    })?;
    let (backend, _) = daemon.backend(kind).map_err(|error| error.to_string())?;
    let adopted = ask_backend(daemon, &*backend, &spec).await?;
    let plan = Plan {
        request: row.request.clone(),
        choice: Choice { backend: kind, reason: row.sandbox.reason.clone() },
        spec,
        // What is left of it by the clock that nobody can set; none at all ends it at once, as its time was up.
        timeout: row.deadline.as_ref().map(crate::clock::StoredDeadline::remaining),
        idle_timeout: convert::time("idle_timeout_ms", row.sandbox.idle_timeout_ms).map_err(words)?,
        from: None,
    };
    keep(daemon, plan, row, adopted).await.map_err(words)
}

async fn ask_backend(
    daemon: &Daemon,
    backend: &dyn Backend,
    spec: &agentkernel_core::SandboxSpec,
) -> Result<Adopted, String> {
    let ended = || "the daemon was restarted and the sandbox had ended".to_owned();
    if !backend.capabilities().adopt {
        return Err(ended());
    }
    match timeout(daemon.limits().change_deadline, backend.adopt(spec)).await {
        Ok(Ok(adopted)) => Ok(adopted),
        Ok(Err(error)) if error.kind == agentkernel_core::ErrorKind::NoSuchSandbox => Err(ended()),
        Ok(Err(error)) => Err(format!("the daemon was restarted and could not get it back: {error}")),
        Err(_) => Err("the daemon was restarted and the sandbox did not answer".into()),
    }
}

/// Gives the sandbox to a keeper.
async fn keep(daemon: &Arc<Daemon>, plan: Plan, row: &Row, adopted: Adopted) -> Outcome<()> {
    let mut sandbox = row.sandbox.clone();
    if sandbox.state != State::Paused {
        sandbox.state = State::Running;
    }
    sandbox.deadline_ms =
        plan.timeout.map(|timeout| clock::wall_ms_at(tokio::time::Instant::now() + timeout));
    let (view, watcher) = watch::channel(sandbox);
    let fate = Fate::open();
    let promised_bytes = plan.spec.limits().memory.value().map(agentkernel_core::ByteSize::get);
    let candidate = Candidate { view: watcher, fate: fate.clone(), promised_bytes };
    daemon.state.take_back(candidate);
    let obituary = Obituary::new(daemon, &view);
    let id = view.borrow().id.clone();
    let (keeper, house, guest) = settle(daemon, plan, view, fate, adopted.sandbox);
    guest.keep_all(adopted.commands);
    daemon.state.live(&id, guest);
    tracing::info!(sandbox = %id, "got back");
    tokio::spawn(async move {
        keeper.keep(house).await;
        obituary.not_needed();
    });
    Ok(())
}

/// Writes down that a sandbox has ended while nobody was there.
async fn bury(daemon: &Daemon, mut row: Row, why: String) {
    tracing::info!(sandbox = %row.sandbox.id, why, "not got back");
    row.sandbox.state = State::Ended;
    row.sandbox.cause = Some(CauseOfDeath::BoundaryCrashed);
    row.sandbox.detail = Some(why);
    row.sandbox.ended_ms = Some(clock::wall_ms());
    if let Err(failure) = daemon.store.put(row).await {
        tracing::error!(error = %failure.error, "the end of a sandbox could not be written down");
    }
}
