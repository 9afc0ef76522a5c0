//! The machine, and the snapshot that every command begins from.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_hypercalls::{CHUNK, digits, host};
use agentkernel_hyperlight::wire::News;
use hyperlight_host::sandbox::snapshot::Snapshot;
use hyperlight_unikraft::{AppSandbox, SandboxBuilder, snapshot_scratch_mb};

use crate::root::AGENT;
use crate::shared::Shared;

/// Most that is kept of what the machine's kernel says, bytes.
const CONSOLE_MAX: usize = 64 << 10;

/// How long a machine may be kept waiting for stdin, milliseconds: whoever ends its command waits for that at most.
const WAIT_MS_MAX: u64 = 100;

/// A machine that waits for its command, or the way to get one.
pub struct Machine {
    /// `None` after one that could not be restored, or was poisoned.
    ready: Option<AppSandbox>,
    snapshot: Arc<Snapshot>,
    memory_mib: usize,
    shared: Arc<Shared>,
}

impl Machine {
    /// Boots it, and takes its snapshot before it has done anything.
    pub fn of_files(root: File, memory_mib: usize, shared: &Arc<Shared>) -> Result<Self, String> {
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
        drop(root);
        Self::of_snapshot(snapshot, Some(booted), shared)
    }

    /// One that is as this snapshot is, whatever the one that was booted for it is by now.
    pub fn of_snapshot(
        snapshot: Arc<Snapshot>,
        booted: Option<AppSandbox>,
        shared: &Arc<Shared>,
    ) -> Result<Self, String> {
        let memory_mib = snapshot_scratch_mb(&snapshot).unwrap_or(0);
        let mut machine = Self { ready: booted, snapshot, memory_mib, shared: Arc::clone(shared) };
        machine.renew(true);
        machine.lease()?;
        Ok(machine)
    }

    /// What every command begins from.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
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
        .host_function(host::STARTED, move |_| said(&starts.begin()))
        .host_function(host::STDOUT, move |digits| said(&out.pass_on(&News::Stdout(written(digits)?))))
        .host_function(host::STDERR, move |digits| said(&err.pass_on(&News::Stderr(written(digits)?))))
        .host_function(host::STDIN, move |wait| {
            let wait = Duration::from_millis(wait.parse().unwrap_or(0).min(WAIT_MS_MAX));
            match input.take(CHUNK, wait) {
                None => Ok(host::END.into()),
                Some(bytes) if bytes.is_empty() => Ok(String::new()),
                Some(bytes) => {
                    said(&input.pass_on(&News::Took(bytes.len())))?;
                    Ok(digits(&bytes))
                }
            }
        })
}

/// Bytes, of digits that whoever is in the machine has made.
fn written(digits: &str) -> Result<Vec<u8>, String> {
    let bytes = agentkernel_hypercalls::bytes(digits.as_bytes());
    bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| "these are no bytes".into())
}

fn said(result: &std::io::Result<()>) -> Result<String, String> {
    match result {
        Ok(()) => Ok(String::new()),
        // Whoever heard us is gone, and we with him.
        Err(_) => std::process::exit(0),
    }
}
