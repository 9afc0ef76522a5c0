//! The machine, and the snapshot that every command begins from.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use agentkernel_hyperlight::wire::News;
use hyperlight_host::sandbox::snapshot::Snapshot;
use hyperlight_unikraft::{AppSandbox, SandboxBuilder, snapshot_scratch_mb};

use crate::command::digits;
use crate::root::AGENT;
use crate::shared::Shared;

/// Most that is kept of what the machine's kernel says, bytes.
const CONSOLE_MAX: usize = 64 << 10;

/// Bytes of stdin handed over at once: twice as many digits fit into the reply of a call.
const PIECE: usize = 32 << 10;

/// A machine that waits for its command, or the way to get one.
pub struct Machine {
    /// `None` after one that could not be restored, or was poisoned.
    ready: Option<AppSandbox>,
    snapshot: Arc<Snapshot>,
    memory_mib: usize,
    shared: Arc<Shared>,
}

impl Machine {
    /// Boots it from this root, and takes its snapshot before it has done anything.
    pub fn boot(root: File, memory_mib: usize, shared: &Arc<Shared>) -> Result<Self, String> {
        // It has no name, but this one.
        let path = format!("/proc/self/fd/{}", root.as_raw_fd());
        let builder =
            SandboxBuilder::from_initrd(path).entry(format!("/{AGENT} calls")).scratch_mb(memory_mib);
        let mut booted = equipped(builder, shared).boot().map_err(|why| why.to_string())?;
        if !booted.has_driver() {
            return Err(format!("our agent did not come up: {}", booted.take_output().text));
        }
        let snapshot = booted.snapshot().map_err(|why| why.to_string())?;
        // The archive was copied into the machine's memory, which the snapshot has.
        let has_mib = snapshot_scratch_mb(&snapshot).unwrap_or(0);
        let mut machine =
            Self { ready: Some(booted), snapshot, memory_mib: has_mib, shared: Arc::clone(shared) };
        machine.renew(true);
        drop(root);
        machine.lease()?;
        Ok(machine)
    }

    /// Memory that it was made with, MiB.
    pub fn memory_mib(&self) -> usize {
        self.memory_mib
    }

    /// The machine, as it was restored, for one command.
    pub fn lease(&mut self) -> Result<&mut AppSandbox, String> {
        if self.ready.is_none() {
            let builder = SandboxBuilder::from_snapshot(Arc::clone(&self.snapshot));
            let again = equipped(builder, &self.shared).boot();
            self.ready = Some(again.map_err(|why| format!("the machine could not be made again: {why}"))?);
        }
        self.ready.as_mut().ok_or_else(|| "there is no machine".into())
    }

    /// Makes it as it was before its command: restored, or destroyed and made anew from the snapshot.
    pub fn renew(&mut self, is_healthy: bool) {
        let healthy = self.ready.take().filter(|_| is_healthy);
        self.ready = healthy.and_then(|mut used| {
            used.restore(Arc::clone(&self.snapshot)).ok()?;
            drop(used.take_output());
            Some(used)
        });
        // One that cannot be made now is tried once more by whoever wants it, and told why.
        drop(self.lease());
    }
}

/// What a machine may ask of us.
fn equipped(builder: SandboxBuilder, shared: &Arc<Shared>) -> SandboxBuilder {
    let (starts, out, err, input) =
        (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    builder
        .echo_output(false)
        .output_limit(CONSOLE_MAX)
        .host_function("started", move |_| {
            if starts.starts() { said(&starts.say(&News::Started)) } else { Ok(String::new()) }
        })
        .host_function("out", move |digits| said(&out.say(&News::Stdout(written(digits)?))))
        .host_function("err", move |digits| said(&err.say(&News::Stderr(written(digits)?))))
        .host_function("in", move |_| match input.take(PIECE) {
            None => Ok(".".into()),
            Some(bytes) if bytes.is_empty() => Ok(String::new()),
            Some(bytes) => {
                said(&input.say(&News::Took(bytes.len())))?;
                Ok(digits(&bytes))
            }
        })
}

/// Bytes, of digits that whoever is in the machine has made.
fn written(digits: &str) -> Result<Vec<u8>, String> {
    let number = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let pairs = digits.as_bytes().chunks(2);
    let bytes =
        pairs.map(|pair| Some(number(pair[0])? << 4 | number(*pair.get(1)?)?)).collect::<Option<Vec<_>>>();
    bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| "these are no bytes".into())
}

fn said(result: &std::io::Result<()>) -> Result<String, String> {
    match result {
        Ok(()) => Ok(String::new()),
        // Whoever heard us is gone, and we with him.
        Err(_) => std::process::exit(0),
    }
}
