//! Calls of exported functions, each in an instance of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use agentkernel_core::{Call, Error, ErrorKind, Result, Returned};
use agentkernel_instance::{INITIALIZE, cause};
use tokio::time::timeout;
use wasmtime::{PoolConcurrencyLimitError, Store, Val};

use crate::cpu::{Metered, usage};
use crate::guest::Guest;
use crate::sandbox::House;
use crate::values;

const WHAT: &str = "call the function";

/// Calls a function, and gives it up at its deadline. What it prints goes nowhere.
pub(crate) async fn call(house: &Arc<House>, call: &Call) -> Result<Returned> {
    house.machine.workers.perform(alone(Arc::clone(house), call.clone())).await
}

async fn alone(house: Arc<House>, call: Call) -> Result<Returned> {
    let began = Instant::now();
    let _running = house.machine.ticker.run();
    let used = Arc::new(AtomicU64::new(0));
    let mut store = house.machine.store(None, &house.purse);
    let meters = [Arc::clone(&used), Arc::clone(&house.used_ns)];
    let work = Metered::new(perform(&house, &mut store, &call), &house.processors, meters);
    let values = match call.timeout {
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(call.late()))?,
        None => work.await?,
    };
    let usage = usage(&used, store.data().meter.bytes, began);
    Ok(Returned { values, usage })
}

async fn perform(house: &House, store: &mut Store<Guest>, call: &Call) -> Result<Vec<serde_json::Value>> {
    let (program, name) = (&house.program, &call.function);
    let Some(function) = program.function(name) else { return Err(unknown(name, &program.functions())) };
    let arguments = values::arguments(call, &function.kind)?;
    let fail = |why: &wasmtime::Error, store: &Store<Guest>| failed(why, store).on(name);
    let instance = match program.instances.instantiate_async(&mut *store).await {
        Ok(instance) => instance,
        Err(why) => return Err(fail(&why, store)),
    };
    let initialize = program.function(INITIALIZE).and_then(|initialize| initialize.of(&instance, store));
    if let Some(initialize) = initialize
        && let Err(why) = initialize.call_async(&mut *store, &[], &mut []).await
    {
        return Err(fail(&why, store));
    }
    let callee = function.of(&instance, store).ok_or_else(|| unknown(name, &[]))?;
    let mut results = vec![Val::I32(0); function.kind.results().len()];
    if let Err(why) = callee.call_async(&mut *store, &arguments, &mut results).await {
        return Err(fail(&why, store));
    }
    Ok(results.iter().map(values::result).collect())
}

pub(crate) fn unknown(function: &str, known: &[&str]) -> Error {
    let why = match known {
        [] => "the module exports no functions".to_owned(),
        known => format!("the module exports no function of that name, but {}", listed(known)),
    };
    Error::new(ErrorKind::Usage, WHAT, why).on(function)
}

/// Names for a message, no more of them than can be read.
pub(crate) fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    let shown = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

fn failed(why: &wasmtime::Error, store: &Store<Guest>) -> Error {
    full(WHAT, why)
        .unwrap_or_else(|| Error::new(ErrorKind::Trapped, WHAT, cause(why, store.data().meter.blame())))
}

/// The error of an instance for which there was no place, which is no fault of the module's.
pub(crate) fn full(what: &str, why: &wasmtime::Error) -> Option<Error> {
    why.downcast_ref::<PoolConcurrencyLimitError>()?;
    let why = "as many Wasm instances run in this process as may";
    Some(Error::new(ErrorKind::Host, what, why).hint("wait until some have ended"))
}
