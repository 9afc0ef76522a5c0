//! Calls of functions of a sandbox's module.

use std::sync::Arc;
use std::time::Instant;

use agentkernel_api::{CallRequest, CallResult, CauseOfDeath, FunctionCall};
use agentkernel_core::{Call, Phases, Returned};

use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::{Guest, Visit};
use crate::make::{Order, make};

/// Calls a function in a sandbox that lives on.
pub async fn within(daemon: &Daemon, visit: &Visit, request: FunctionCall) -> Outcome<CallResult> {
    let began = Instant::now();
    let returned = perform(visit, request).await?;
    let exec = began.elapsed();
    let phases = Phases { exec: Some(exec), total: exec, ..Phases::default() };
    Ok(tell(daemon, visit.guest(), returned, &phases))
}

/// Calls a function in a sandbox of its own, which ends with it, also if this future is dropped.
pub async fn alone(daemon: &Arc<Daemon>, owner: &str, request: CallRequest) -> Outcome<CallResult> {
    let began = Instant::now();
    let CallRequest { sandbox, call } = request;
    let order = Order { owner: owner.to_owned(), request: sandbox, run: true, id: None };
    let (guest, guard) = make(daemon, order).await?;
    let exec_began = Instant::now();
    let visit = guest.enter()?;
    let returned = perform(&visit, call).await;
    drop(visit);
    let ended = match &returned {
        Ok(_) => "its call returned".to_owned(),
        Err(failure) => format!("its call failed: {}", failure.error),
    };
    guest.fate.decide(CauseOfDeath::Exited, ended);
    drop(guard);
    let phases = made(&guest, exec_began, began);
    let mut result = tell(daemon, &guest, returned?, &phases);
    result.origin = guest.view.borrow().origin;
    Ok(result)
}

async fn perform(visit: &Visit, request: FunctionCall) -> Outcome<Returned> {
    let FunctionCall { function, arguments, timeout_ms } = request;
    if function.is_empty() {
        return Err(Failure::usage("call.function", "it is empty"));
    }
    let timeout = convert::time("call.timeout_ms", timeout_ms)?;
    let full = |_| Failure::busy("call the function", "as many commands as there may be run in this sandbox");
    let _place = visit.guest().processes.clone().try_acquire_owned().map_err(full)?;
    visit.attempt(visit.sandbox().call(&Call { function, arguments, timeout })).await
}

/// Where the time of a sandbox that was made for a call has gone.
fn made(guest: &Guest, exec_began: Instant, began: Instant) -> Phases {
    let made = guest.view.borrow().phases.clone();
    let time = |ns: Option<u64>| ns.map(std::time::Duration::from_nanos);
    Phases {
        queue: time(made.queue_ns),
        acquire: time(made.acquire_ns),
        boot: time(made.boot_ns),
        ready: time(made.ready_ns),
        exec: Some(exec_began.elapsed()),
        stop: None,
        total: began.elapsed(),
    }
}

fn tell(daemon: &Daemon, guest: &Guest, returned: Returned, phases: &Phases) -> CallResult {
    let phases = convert::phases(phases);
    daemon.metrics.took(&phases);
    CallResult {
        values: returned.values,
        usage: convert::usage(&returned.usage),
        sandbox: guest.view.borrow().id.clone(),
        origin: None,
        phases,
    }
}
