//! How a sandbox comes to be: admitted, written down, acquired, and given to its keeper.

mod begin;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{self as api, ErrorKind, SandboxRequest, State};
use agentkernel_core::{ByteSize, Sandbox, SandboxSpec, SnapshotName};
use agentkernel_runtime::{Choice, run};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use self::begin::{Begun, begin};
use crate::clock;
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::fate::{EndOnDrop, Fate};
use crate::guest::{Guest, House, Uses};
use crate::keeper::{Keeper, Table};
use crate::log::Log;
use crate::state::Candidate;

/// A sandbox that somebody wants.
pub struct Order {
    /// Whose it is to be.
    pub owner: String,
    /// What it is to be.
    pub request: SandboxRequest,
    /// For one run.
    pub run: bool,
    /// Its id, if it had one before.
    pub id: Option<String>,
    /// The snapshot that it goes on from, and what keeps that.
    pub from: Option<(Choice, SnapshotName)>,
}

/// What the keeper begins with.
pub struct Plan {
    pub request: SandboxRequest,
    pub choice: Choice,
    pub spec: SandboxSpec,
    pub timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    /// The snapshot that it goes on from.
    pub from: Option<SnapshotName>,
}

/// Makes a sandbox. Whoever drops this future, or the guard, takes it along.
pub async fn make(daemon: &Arc<Daemon>, order: Order) -> Outcome<(Guest, EndOnDrop)> {
    let (plan, view) = plan(daemon, order).await?;
    let (view, watcher) = watch::channel(view);
    let fate = Fate::open();
    let promised_bytes = plan.spec.limits().memory.value().map(ByteSize::get);
    let candidate = Candidate { view: watcher, fate: fate.clone(), promised_bytes };
    let guard = EndOnDrop::new(fate.clone());
    let (reply, answer) = oneshot::channel();
    let daemon = daemon.clone();
    // From its admission on a sandbox is this task's, which nobody drops: whoever was admitted is forgotten again.
    tokio::spawn(async move {
        match daemon.state.admit(candidate).await {
            Ok(()) => live(daemon, plan, view, fate, reply).await,
            Err(failure) => drop(reply.send(Err(failure))),
        }
    });
    let guest = answer.await.map_err(|_| Failure::internal("the sandbox's keeper has ended"))??;
    Ok((guest, guard))
}

/// Everything that can be decided before anything is done.
async fn plan(daemon: &Daemon, order: Order) -> Outcome<(Plan, api::Sandbox)> {
    let Order { owner, request, run, id, from } = order;
    check_size(daemon, &request)?;
    let id = id.map_or_else(|| run::random_name().map_err(Failure::from), |id| convert::name(&id))?;
    let name = request.name.as_deref().map(convert::name).transpose()?.unwrap_or_else(|| id.clone());
    let (backend, spec) = convert::spec(&request, id.clone(), &owner)?;
    let timeout = convert::time("sandbox.timeout_ms", request.timeout_ms)?;
    let idle_timeout = convert::time("sandbox.idle_timeout_ms", request.idle_timeout_ms)?;
    let (choice, from) = match from {
        Some((choice, from)) => (choice, Some(from)),
        None => (daemon.registry.choose(backend, &spec).await?, None),
    };
    let sandbox = api::Sandbox {
        id: id.to_string(),
        name: name.to_string(),
        owner,
        host_name: None,
        backend: choice.backend.to_string(),
        reason: choice.reason.clone(),
        warning: daemon.registry.warning(choice.backend, &spec),
        state: State::Creating,
        cause: None,
        detail: None,
        created_ms: clock::wall_ms(),
        deadline_ms: None,
        idle_timeout_ms: idle_timeout.map(clock::milliseconds),
        ended_ms: None,
        memory_peak_bytes: None,
        out_of_memory_kills: None,
        limits: convert::limits(spec.limits()),
        labels: request.labels.clone(),
        origin: None,
        phases: api::Phases::default(),
        renewal: None,
        run,
    };
    Ok((Plan { request, choice, spec, timeout, idle_timeout, from }, sandbox))
}

/// What is kept for ten thousand sandboxes must be small for each.
fn check_size(daemon: &Daemon, request: &SandboxRequest) -> Outcome<()> {
    let length = serde_json::to_vec(request).map_err(Failure::internal)?.len();
    let most = daemon.limits().request_bytes;
    if length <= most {
        return Ok(());
    }
    let why = format!("labels, variables and mounts have {length} bytes together, of {most}");
    Err(Failure::new(ErrorKind::TooLarge, "read the request", why).on("sandbox"))
}

/// The whole life of a sandbox: the task of its keeper.
async fn live(
    daemon: Arc<Daemon>,
    plan: Plan,
    view: watch::Sender<api::Sandbox>,
    fate: Fate,
    reply: oneshot::Sender<Outcome<Guest>>,
) {
    let obituary = Obituary::new(&daemon, &view);
    let id = view.borrow().id.clone();
    match begin(&daemon, &plan, &view, &fate).await {
        Ok(Begun { sandbox, commands }) => {
            let (keeper, house, guest) = settle(&daemon, plan, view, fate, sandbox);
            guest.keep_all(commands);
            daemon.state.live(&id, guest.clone());
            // Nobody waits any more: the guard has decided the fate.
            drop(reply.send(Ok(guest)));
            keeper.keep(house).await;
        }
        Err(failure) => {
            tracing::info!(sandbox = %id, error = %failure.error, "not made");
            if !view.borrow().run
                && let Err(failure) = daemon.store.remove(id.clone()).await
            {
                tracing::warn!(sandbox = %id, error = %failure.error, "it stays in the store");
            }
            view.send_modify(|sandbox| sandbox.state = State::Ended);
            daemon.state.forget(&id);
            drop(reply.send(Err(failure)));
        }
    }
    obituary.not_needed();
}

/// A sandbox with its keeper, and the way in.
pub fn settle(
    daemon: &Arc<Daemon>,
    plan: Plan,
    view: watch::Sender<api::Sandbox>,
    fate: Fate,
    sandbox: Box<dyn Sandbox>,
) -> (Keeper, Arc<House>, Guest) {
    let Plan { request, spec, timeout, idle_timeout, .. } = plan;
    let limits = daemon.limits();
    let env: BTreeMap<_, _> = request.env.clone();
    let house = Arc::new(House { sandbox, spec, env });
    let (asking, asks) = mpsc::unbounded_channel();
    let (log, uses) = (Arc::new(Log::new(limits.log_bytes)), Uses::new());
    let processes_max = limits.processes_per_sandbox;
    let guest = Guest {
        view: view.subscribe(),
        fate: fate.clone(),
        keeper: asking.clone(),
        log: log.clone(),
        uses: uses.clone(),
        processes: Arc::new(Semaphore::new(processes_max)),
        house: Arc::downgrade(&house),
    };
    let keeper = Keeper {
        daemon: daemon.clone(),
        view,
        fate,
        request,
        asks,
        myself: asking.downgrade(),
        log,
        uses,
        deadline: timeout.map(|timeout| Instant::now() + timeout),
        idle_timeout,
        table: Table::new(processes_max),
    };
    (keeper, house, guest)
}

/// Tells the owner that a keeper is gone, even if it panicked: the sandbox has been dropped, and so killed, then.
pub struct Obituary {
    daemon: Arc<Daemon>,
    id: String,
    needed: bool,
}

impl Obituary {
    pub fn new(daemon: &Arc<Daemon>, view: &watch::Sender<api::Sandbox>) -> Self {
        Self { daemon: daemon.clone(), id: view.borrow().id.clone(), needed: true }
    }

    /// The keeper has done it itself.
    pub fn not_needed(mut self) {
        self.needed = false;
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if self.needed {
            tracing::error!(sandbox = %self.id, "the keeper of a sandbox was lost");
            self.daemon.state.forget(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;
