//! The program of a Hyperlight machine that runs one Wasm module, and the only one in it. Its machine code is beside it, made
//! by the host: there is no compiler here.
//!
//! ```text
//! host: run(words) ──▶ an instance in a store of its own ──▶ _start ──▶ exit 0, or why not
//!       call(name, numbers) ──▶ another ──▶ the function ──▶ its numbers
//! ```
//!
//! The machine is restored after each of them, so that what an instance has leaves with the whole machine. Where making an
//! instance runs nothing of the module, the first one is made before the host takes the snapshot: it is in each restored machine,
//! as it was made.

mod outside;
mod work;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use agentkernel_hypercalls::{CALL, Device, RUN};
use agentkernel_instance::{IS_STILL, MODULE, imports, of_machine};
use tokio::runtime::Builder;
use wasmtime::{Engine, Module};

use work::{Guest, Work};

fn main() -> ExitCode {
    match serve() {
        Ok(never) => match never {},
        Err(why) => {
            // The host has the console of this machine in the error.
            eprintln!("CRIT: the module's program failed: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What there is none of.
enum Never {}

fn serve() -> Result<Never, String> {
    let mut work = prepare().map_err(|why| format!("{why:#}"))?;
    let runtime = Builder::new_current_thread().enable_time().build().map_err(|why| why.to_string())?;
    let mut buffer = work.device.buffer();
    let failed = |why: std::io::Error| format!("/dev/hlcall: {why}");
    if fs::exists(format!("/{IS_STILL}")).is_ok_and(|is_there| is_there) {
        runtime.block_on(work.begin());
    }
    loop {
        let Some(call) = work.device.next(&mut buffer).map_err(failed)? else { continue };
        let result = match call.function.as_str() {
            RUN => runtime.block_on(work.run(&call.text)),
            CALL => runtime.block_on(work.call(&call.text)),
            _ => "garbled".to_owned(),
        };
        work.device.answer(&result).map_err(failed)?;
    }
}

/// Memory of the machine that is left for stacks, and for what an instance needs besides its memory, bytes.
const SPARE_BYTES: usize = 8 << 20;

/// Memory that nothing uses yet. The kernel promises more than it has, and ends with the machine when it is used.
fn free_bytes() -> usize {
    let info = rustix::system::sysinfo();
    usize::try_from(info.freeram * u64::from(info.mem_unit)).unwrap_or(usize::MAX)
}

/// All that is the same for each command and each call.
fn prepare() -> wasmtime::Result<Work> {
    let device = Arc::new(Device::open()?);
    let engine = Engine::new(&of_machine())?;
    let code = fs::read(format!("/{MODULE}"))?;
    // SAFETY: the host has made this file with the compiler of the same build, and nothing else has run here.
    let module = unsafe { Module::deserialize(&engine, &code) }?;
    drop(code);
    let instances = imports(&engine, Guest::wasi)?.instantiate_pre(&module)?;
    let memory_bytes_max = free_bytes().saturating_sub(SPARE_BYTES);
    Ok(Work { device, engine, instances, memory_bytes_max, first: None })
}
