//! The helper program of the `hyperlight` backend: it holds the micro VM of one sandbox, and does what it is told on its
//! stdin ([`agentkernel_hyperlight::wire`]). It is a program of its own, so that whoever gets out of a machine is in a
//! process that has no capabilities, no variables and no files, and is gone with its sandbox.

mod confine;
mod job;
mod kept;
mod machine;
mod orders;
mod root;
mod shared;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use agentkernel_hyperlight::wire::{self, News, Order, Plan, Root, Trouble};
use agentkernel_wasm::MachineCode;

use kept::Kept;
use machine::{Machine, Source};
use orders::Job;
use shared::Shared;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Whoever started it by hand may read this.
            eprintln!("agentkernel-hyperlight: it is started by agentkernel: {why}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    let shared = Arc::new(Shared::new());
    let Order::Boot(plan) = wire::read(io::stdin().lock())? else {
        return Err(io::Error::other("the first order is none to boot"));
    };
    let (machine, module, jobs) = match make(&plan, &shared) {
        Ok(made) => made,
        Err(trouble) => return shared.say(&News::NotMade(trouble)),
    };
    shared.say(&News::Ready { memory_mib: machine.memory_mib() })?;
    obey(machine, module.as_ref(), &jobs, &shared)
}

/// Makes the machine. What is read with all rights is read first; whoever compiles a module has none any more.
fn make(plan: &Plan, shared: &Arc<Shared>) -> Result<(Machine, Option<MachineCode>, Receiver<Job>), Trouble> {
    let failed = |why: io::Error| Trouble::Machine(why.to_string());
    let (source, module) = match &plan.root {
        Root::Module { file, cache } => {
            let wasm = MachineCode::read(file).map_err(Trouble::Module)?;
            confine::give_up_privileges().map_err(failed)?;
            let mut module = MachineCode::of(file, &wasm, cache.clone()).map_err(Trouble::Module)?;
            let source = source(&module, cache.as_deref(), plan.memory_mib)?;
            module.forget_code();
            (source, Some(module))
        }
        Root::Host | Root::Folder(_) => {
            let files = root::archive(&plan.root, plan.memory_mib)?;
            confine::give_up_privileges().map_err(failed)?;
            (Source::Files(files, None), None)
        }
    };
    shared.say(&News::Prepared).map_err(failed)?;
    let jobs = orders::hear(Arc::clone(shared)).map_err(failed)?;
    let machine = Machine::boot(source, plan.memory_mib, shared).map_err(Trouble::Machine)?;
    Ok((machine, module, jobs))
}

/// What the machine of a module is made of: a snapshot of one like it, or files.
fn source(module: &MachineCode, cache: Option<&Path>, memory_mib: usize) -> Result<Source, Trouble> {
    let kept = cache.map(|cache| Kept::of(cache, module.code(), memory_mib));
    match kept.as_ref().and_then(Kept::load) {
        Some(snapshot) => Ok(Source::Snapshot(snapshot)),
        None => Ok(Source::Files(root::archive_of_module(module.code(), memory_mib)?, kept)),
    }
}

/// Does one job after the other, until there are no more orders.
fn obey(
    mut machine: Machine,
    module: Option<&MachineCode>,
    jobs: &Receiver<Job>,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    while let Ok(job) = jobs.recv() {
        let is_healthy = match &job {
            Job::Run(words) => job::run(&mut machine, words, module, shared)?,
            Job::Call(call) => job::call(&mut machine, call, module, shared)?,
        };
        machine.renew(is_healthy);
    }
    Ok(())
}
