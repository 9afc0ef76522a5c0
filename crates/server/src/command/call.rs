//! Calls of functions of a sandbox's module.

use std::sync::Arc;
use std::time::Instant;

use agentkernel_api::{self as api, CallRequest, CallResult, CauseOfDeath, FunctionCall};
use agentkernel_core::{Call, Phases, Returned};

use super::run;
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::{Guest, Visit};
use crate::make::{Order, make};

/// Calls a function in a sandbox that lives on.
pub async fn within(daemon: &Daemon, visit: &Visit, request: FunctionCall) -> Outcome<CallResult> {
    let began = Instant::now();
    let returned = perform(visit, &meant(request)?).await?;
    let exec = began.elapsed();
    let phases = Phases { exec: Some(exec), total: exec, ..Phases::default() };
    Ok(tell(daemon, visit.guest(), returned, convert::phases(&phases)))
}

/// Calls a function in a sandbox of its own, which ends with it, also if this future is dropped.
pub async fn alone(daemon: &Arc<Daemon>, owner: &str, request: CallRequest) -> Outcome<CallResult> {
    let began = Instant::now();
    let CallRequest { sandbox, call } = request;
    let call = meant(call)?;
    let order = Order { owner: owner.to_owned(), request: sandbox, run: true, id: None, from: None };
    let (guest, guard) = make(daemon, order).await?;
    let exec_began = Instant::now();
    let visit = guest.enter()?;
    let returned = perform(&visit, &call).await;
    let exec = exec_began.elapsed();
    drop(visit);
    let ended = match &returned {
        Ok(_) => "its call returned".to_owned(),
        Err(failure) => format!("its call failed: {}", failure.error),
    };
    guest.fate.decide(CauseOfDeath::Exited, ended);
    drop(guard);
    let phases = run::phases(&guest, exec, began);
    let mut result = tell(daemon, &guest, returned?, phases);
    result.origin = guest.view.borrow().origin;
    Ok(result)
}

/// What is meant by a request, before anything is made for it.
fn meant(request: FunctionCall) -> Outcome<Call> {
    let FunctionCall { function, arguments, timeout_ms } = request;
    if function.is_empty() {
        return Err(Failure::usage("call.function", "it is empty"));
    }
    Ok(Call { function, arguments, timeout: convert::time("call.timeout_ms", timeout_ms)? })
}

async fn perform(visit: &Visit, call: &Call) -> Outcome<Returned> {
    let full = |_| Failure::busy("call the function", "as many commands as there may be run in this sandbox");
    let _place = visit.guest().processes.clone().try_acquire_owned().map_err(full)?;
    visit.attempt(visit.sandbox().call(call)).await
}

fn tell(daemon: &Daemon, guest: &Guest, returned: Returned, phases: api::Phases) -> CallResult {
    daemon.metrics.took(&phases);
    CallResult {
        values: returned.values,
        usage: convert::usage(&returned.usage),
        sandbox: guest.view.borrow().id.clone(),
        origin: None,
        phases,
    }
}
