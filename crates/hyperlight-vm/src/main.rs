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
mod sys;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use agentkernel_hyperlight::wire::{self, News, Order, Plan, Root, Trouble};
use agentkernel_wasm::MachineCode;

use confine::Refuge;
use kept::Kept;
use machine::Machine;
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
    let (machine, module, jobs) = match withdrawn(&plan, &shared) {
        Ok(made) => made,
        Err(trouble) => return shared.say(&News::NotMade(trouble)),
    };
    shared.say(&News::Ready { memory_mib: machine.memory_mib() })?;
    obey(machine, module.as_ref(), &jobs, &shared)
}

/// The machine, what runs in it, and what is to be done in it.
type Made = (Machine, Option<MachineCode>, Receiver<Job>);

/// Makes the machine, and then keeps nothing but it.
fn withdrawn(plan: &Plan, shared: &Arc<Shared>) -> Result<Made, Trouble> {
    let refuge = Refuge::of(plan.user).map_err(failed)?;
    let made = make(plan, &refuge, shared)?;
    refuge.withdraw().map_err(failed)?;
    Ok(made)
}

/// Makes the machine. What is read with all rights is read first; whoever compiles a module has none that it can use.
fn make(plan: &Plan, refuge: &Refuge, shared: &Arc<Shared>) -> Result<Made, Trouble> {
    match &plan.root {
        Root::Module { file, cache } => {
            let wasm = MachineCode::read(file).map_err(Trouble::Module)?;
            refuge.give_up_privileges().map_err(failed)?;
            let mut module = MachineCode::of(file, &wasm, cache.clone()).map_err(Trouble::Module)?;
            let jobs = prepared(shared).map_err(failed)?;
            let machine = of_module(&module, cache.as_deref(), plan.memory_mib, shared)?;
            module.forget_code();
            Ok((machine, Some(module), jobs))
        }
        Root::Host | Root::Folder(_) => {
            let files = root::archive(&plan.root, plan.memory_mib)?;
            refuge.give_up_privileges().map_err(failed)?;
            let jobs = prepared(shared).map_err(failed)?;
            let machine = Machine::of_files(files, plan.memory_mib, shared).map_err(Trouble::Machine)?;
            Ok((machine, None, jobs))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(why: io::Error) -> Trouble {
    Trouble::Machine(why.to_string())
}

/// Says that there is all that a machine is made of, and hears orders from now on.
fn prepared(shared: &Arc<Shared>) -> io::Result<Receiver<Job>> {
    shared.say(&News::Prepared)?;
    orders::hear(Arc::clone(shared))
}

/// The machine of a module: as one like it was kept, or booted, and then kept for the next.
fn of_module(
    module: &MachineCode,
    cache: Option<&Path>,
    memory_mib: usize,
    shared: &Arc<Shared>,
) -> Result<Machine, Trouble> {
    let kept = cache.map(|cache| Kept::of(cache, module.code(), memory_mib));
    if let Some(snapshot) = kept.as_ref().and_then(Kept::load) {
        match Machine::of_snapshot(snapshot, None, shared) {
            Ok(machine) => return Ok(machine),
            // It was whole and is of no use.
            Err(_) => kept.iter().for_each(Kept::discard),
        }
    }
    let files = root::archive_of_module(module, memory_mib)?;
    let machine = Machine::of_files(files, memory_mib, shared).map_err(Trouble::Machine)?;
    if let Some(kept) = kept {
        kept.save(machine.snapshot());
    }
    Ok(machine)
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
