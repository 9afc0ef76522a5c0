//! A command or a call, in an instance of its own, to its end.

use std::sync::Arc;

use agentkernel_hypercalls::{Device, Words, bytes, host};
use agentkernel_instance::{Ended, INITIALIZE, START, TABLE_ELEMENTS_MAX, cause, from_text, to_text};
use wasmtime::{Engine, Instance, InstancePre, ResourceLimiter, Result, Store, Val};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::preview1::WasiP1Ctx;

use crate::outside::{Input, Output};

/// What instances are made of.
pub struct Work {
    pub device: Arc<Device>,
    pub engine: Engine,
    pub instances: InstancePre<Guest>,
    /// Most memory of an instance.
    pub memory_bytes_max: usize,
    /// The first instance, if it was made before it was wanted: the machine's snapshot has it.
    pub first: Option<(Store<Guest>, Instance)>,
}

/// What belongs to one instance.
pub struct Guest {
    /// Made when it is first used: what is random in it must not be in a snapshot.
    wasi: Option<WasiP1Ctx>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    /// It wanted more than that.
    was_denied: bool,
}

impl Guest {
    pub fn wasi(&mut self) -> &mut WasiP1Ctx {
        self.wasi.get_or_insert_with(|| WasiCtxBuilder::new().build_p1())
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let bytes = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let is_granted = bytes <= self.memory_bytes_max;
        if is_granted {
            self.memory_bytes = bytes;
        }
        self.was_denied |= !is_granted;
        Ok(is_granted)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl Work {
    /// Makes the first instance now. If that fails, it fails once more for whoever wants it, and he is told.
    pub async fn begin(&mut self) {
        let (store, made) = self.make(None).await;
        self.first = made.ok().map(|instance| (store, instance));
    }

    /// An instance that nobody has used, which has these words and streams, or the store in which it could not be made.
    async fn instance(&mut self, wasi: Option<WasiP1Ctx>) -> (Store<Guest>, Result<Instance>) {
        match self.first.take() {
            Some((mut store, instance)) => {
                store.data_mut().wasi = wasi;
                (store, Ok(instance))
            }
            None => self.make(wasi).await,
        }
    }

    /// What the module does meanwhile, it does with these words and streams.
    async fn make(&self, wasi: Option<WasiP1Ctx>) -> (Store<Guest>, Result<Instance>) {
        let memory_bytes_max = self.memory_bytes_max;
        let guest = Guest { wasi, memory_bytes: 0, memory_bytes_max, was_denied: false };
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| guest);
        let made = self.instances.instantiate_async(&mut store).await;
        (store, made)
    }

    /// Runs a command: `exit CODE`, `trapped WHY`, or `unmade WHY` if it did not begin.
    pub async fn run(&mut self, text: &str) -> String {
        let Some(mut wasi) = Words::parse(text).and_then(|words| self.outside(&words)) else {
            return "garbled".to_owned();
        };
        let (mut store, made) = self.instance(Some(wasi.build_p1())).await;
        let start = made.and_then(|instance| instance.get_typed_func::<(), ()>(&mut store, START));
        let start = match start {
            Ok(start) => start,
            Err(why) => return format!("unmade {}", cause(&why, store.data().was_denied)),
        };
        if self.device.call(host::STARTED, "").is_err() {
            return "garbled".to_owned();
        }
        let result = start.call_async(&mut store, ()).await;
        match Ended::of(&result, || store.data().was_denied) {
            Ended::Code(code) => format!("exit {code}"),
            Ended::Trapped(why) => format!("trapped {why}"),
        }
    }

    /// What a command sees: its words, its streams, clocks and random bytes.
    fn outside(&self, words: &Words) -> Option<WasiCtxBuilder> {
        let mut wasi = WasiCtxBuilder::new();
        for word in &words.argv {
            wasi.arg(std::str::from_utf8(word).ok()?);
        }
        for variable in &words.env {
            let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            wasi.env(name, value);
        }
        if words.has_stdin {
            wasi.stdin(Input::new(&self.device));
        }
        wasi.stdout(Output::new(&self.device, host::STDOUT)).stderr(Output::new(&self.device, host::STDERR));
        Some(wasi)
    }

    /// Calls a function: `returned NUMBERS`, or `trapped WHY`. What it prints goes nowhere.
    pub async fn call(&mut self, text: &str) -> String {
        let words = text.split_once(' ').unwrap_or((text, ""));
        let name = bytes(words.0.as_bytes()).and_then(|name| String::from_utf8(name).ok());
        let (Some(name), Some(arguments)) = (name, from_text(words.1)) else { return "garbled".to_owned() };
        let (mut store, made) = self.instance(None).await;
        let result = match made {
            Ok(instance) => perform(&mut store, instance, &name, &arguments).await,
            Err(why) => Err(why),
        };
        match result {
            Ok(results) => match to_text(&results) {
                Some(text) => format!("returned {text}"),
                None => "garbled".to_owned(),
            },
            Err(why) => format!("trapped {}", cause(&why, store.data().was_denied)),
        }
    }
}

async fn perform(
    store: &mut Store<Guest>,
    instance: Instance,
    name: &str,
    arguments: &[Val],
) -> Result<Vec<Val>> {
    let missing = || wasmtime::Error::msg("the module exports no such function");
    let callee = instance.get_func(&mut *store, name).ok_or_else(missing)?;
    if let Some(initialize) = instance.get_func(&mut *store, INITIALIZE) {
        initialize.call_async(&mut *store, &[], &mut []).await?;
    }
    let mut results = vec![Val::I32(0); callee.ty(&*store).results().len()];
    callee.call_async(&mut *store, arguments, &mut results).await?;
    Ok(results)
}
