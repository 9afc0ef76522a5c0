//! The posture: a module of ours tries what no module may, under the same rules as all others.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use agentkernel_core::{Control, Error, ErrorKind, Posture, Result};

use crate::guest::Purse;
use crate::machine::Machine;
use crate::program::Program;

/// Its source.
const TRIAL: &str = include_str!("trial.wat");
/// Memory that is given to it when nobody has said how much.
pub(crate) const MEMORY_BYTES: usize = 1 << 20;
/// Most memory that it asks for page by page: the rule is the same for more.
const MEMORY_TRIED_MAX: usize = 64 << 20;
/// A page of Wasm memory.
const PAGE_BYTES: usize = 64 << 10;

/// Runs the trial with so much memory.
pub(crate) async fn posture(machine: &Machine, memory_bytes: usize) -> Result<Posture> {
    let trial = Trial { machine, program: Program::of(machine, TRIAL.as_bytes())?, memory_bytes };
    let none = |name: &str, count: i32| Control::exact(name, "0", count.to_string());
    let tried = memory_bytes.min(MEMORY_TRIED_MAX);
    let pages = trial.run("pages", tried).await?;
    let imports: Vec<&str> = machine.linker.iter(trial.store(0)).map(|(module, _, _)| module).collect();
    let only_wasi = imports.iter().all(|module| *module == "wasi_snapshot_preview1");
    let controls = vec![
        none("wasm.files", trial.run("files", MEMORY_BYTES).await?),
        none("wasm.sockets", trial.run("sockets", MEMORY_BYTES).await?),
        none("wasm.variables", trial.run("variables", MEMORY_BYTES).await?),
        Control::exact(
            "wasm.memory",
            format!("{} pages, and no more", tried / PAGE_BYTES),
            format!("{pages} pages, and no more"),
        ),
        Control::judged(
            "wasm.imports",
            "WASI preview 1 alone",
            format!("{} functions", imports.len()),
            only_wasi && !imports.is_empty(),
        ),
        trial.spin().await?,
    ];
    Ok(Posture { controls })
}

struct Trial<'a> {
    machine: &'a Machine,
    program: Program,
    memory_bytes: usize,
}

impl Trial<'_> {
    fn store(&self, memory_bytes: usize) -> wasmtime::Store<crate::guest::Guest> {
        self.machine.store(None, &Purse::new(memory_bytes))
    }

    async fn run(&self, function: &str, memory_bytes: usize) -> Result<i32> {
        let _running = self.machine.ticker.run();
        let mut store = self.store(memory_bytes);
        let instance =
            self.program.instances.instantiate_async(&mut store).await.map_err(|why| broken(&why))?;
        let function =
            instance.get_typed_func::<(), i32>(&mut store, function).map_err(|why| broken(&why))?;
        function.call_async(&mut store, ()).await.map_err(|why| broken(&why))
    }

    /// Whether what computes for ever gives the processor back: it can be ended then. If it did not, this would not
    /// return.
    async fn spin(&self) -> Result<Control> {
        let _running = self.machine.ticker.run();
        let mut store = self.store(self.memory_bytes);
        let instance =
            self.program.instances.instantiate_async(&mut store).await.map_err(|why| broken(&why))?;
        let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").map_err(|why| broken(&why))?;
        let mut spinning = pin!(spin.call_async(&mut store, ()));
        let spun = poll_fn(|context| Poll::Ready(spinning.as_mut().poll(context))).await;
        let actual = if spun.is_pending() { "the processor is given back" } else { "it is over" };
        Ok(Control::exact("wasm.deadline", "the processor is given back", actual))
    }
}

fn broken(why: &wasmtime::Error) -> Error {
    Error::new(ErrorKind::ControlRefused, "try the limits of Wasm", why.root_cause())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::Cache;

    #[tokio::test]
    async fn the_trial_holds_whatever_the_memory() {
        let machine = Arc::new(Machine::new(Cache::new(None), 1).expect("a machine"));
        for memory_bytes in [PAGE_BYTES, MEMORY_BYTES, 512 << 20] {
            let posture = posture(&machine, memory_bytes).await.expect("tried");
            assert!(posture.holds(), "{:?}", posture.broken().collect::<Vec<_>>());
            assert_eq!(posture.controls.len(), 6);
        }
    }
}
