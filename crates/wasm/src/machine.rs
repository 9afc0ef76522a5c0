//! What all sandboxes of a process share: the engine, what modules may import, and compiled modules.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use agentkernel_core::{Error, ErrorKind, ModuleFile, Result};
use agentkernel_instance::{OUTSIDE_BYTES, STACK_BYTES, TABLE_ELEMENTS_MAX, imports};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Linker, PoolingAllocationConfig, Store};
use wasmtime_wasi::preview1::WasiP1Ctx;

use crate::cache::Cache;
use crate::guest::{Guest, Meter, Purse};
use crate::program::Program;
use crate::ticker::Ticker;
use crate::workers::Workers;

/// Most instances at once. Each has address space of its own, and memory only where it was written to.
pub(crate) const INSTANCES_MAX: u32 = 1000;
/// Most instances of whoever runs one command: places take time to be made, 3 µs each.
pub(crate) const INSTANCES_FEW: u32 = 4;
/// Most that one instance needs outside its memory: its globals, and where its imports are.
const INSTANCE_BYTES_MAX: usize = 2 << 20;
/// Compiled modules that are kept.
const PROGRAMS_MAX: usize = 64;

/// The engine with all that is shared.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    pub(crate) ticker: Ticker,
    pub(crate) workers: Workers,
    pub(crate) cache: Cache,
    /// How instances get their memory, for a person.
    pub(crate) allocator: &'static str,
    /// The one that was used last is at the end.
    programs: Mutex<VecDeque<(ModuleFile, Arc<Program>)>>,
}

impl Machine {
    pub(crate) fn new(cache: Cache, instances: u32) -> Result<Self> {
        let failed = |why: wasmtime::Error| Error::new(ErrorKind::Host, "start Wasmtime", format!("{why:#}"));
        // A host that gives no more address space than it has memory cannot have places for a thousand.
        let (engine, allocator) = match Engine::new(&config(Some(places(instances)))) {
            Ok(engine) => (engine, "pooling"),
            Err(_) => (Engine::new(&config(None)).map_err(failed)?, "on demand"),
        };
        let linker = imports(&engine, Guest::wasi).map_err(failed)?;
        let ticker = Ticker::start(&engine)?;
        let (workers, programs) = (Workers::default(), Mutex::default());
        Ok(Self { engine, linker, ticker, workers, cache, allocator, programs })
    }

    /// A store for one instance, which gives the processor back at each epoch.
    pub(crate) fn store(&self, wasi: Option<WasiP1Ctx>, purse: &Arc<Purse>) -> Store<Guest> {
        let mut store = Store::new(&self.engine, Guest::new(wasi, Meter::new(purse)));
        store.limiter(|guest| &mut guest.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    /// The compiled module of this file, if it was needed lately.
    pub(crate) fn known(&self, file: &ModuleFile) -> Option<Arc<Program>> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let at = programs.iter().position(|(known, _)| known == file)?;
        let entry = programs.remove(at)?;
        let program = Arc::clone(&entry.1);
        programs.push_back(entry);
        Some(program)
    }

    /// Keeps a compiled module for the next.
    pub(crate) fn keep(&self, file: &ModuleFile, program: &Arc<Program>) {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= PROGRAMS_MAX {
            programs.pop_front();
        }
        programs.push_back((file.clone(), Arc::clone(program)));
    }
}

fn config(places: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config.async_support(true).epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES).async_stack_size(STACK_BYTES + OUTSIDE_BYTES);
    if let Some(places) = places {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(places));
    }
    config
}

fn places(instances: u32) -> PoolingAllocationConfig {
    let mut places = PoolingAllocationConfig::new();
    places.total_core_instances(instances).total_memories(instances).total_tables(instances);
    places.total_stacks(instances);
    places.max_core_instance_size(INSTANCE_BYTES_MAX).table_elements(TABLE_ELEMENTS_MAX);
    places
}
