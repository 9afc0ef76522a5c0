//! The helper program of the `hyperlight` backend: it holds the micro VM of one sandbox, and does what it is told on its
//! stdin ([`agentkernel_hyperlight::wire`]). It is a program of its own, so that whoever gets out of a machine is in a
//! process that has no capabilities, no variables and no files, and is gone with its sandbox.

mod command;
mod confine;
mod machine;
mod orders;
mod root;
mod shared;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use agentkernel_hyperlight::wire::{self, News, Order, Plan, Trouble, Words};

use machine::Machine;
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
    let (machine, runs) = match make(&plan, &shared) {
        Ok(made) => made,
        Err(trouble) => return shared.say(&News::NotMade(trouble)),
    };
    shared.say(&News::Ready { memory_mib: machine.memory_mib() })?;
    obey(machine, &runs, &shared)
}

/// Makes the machine. From here on nothing of the host can be opened any more but KVM, and orders are heard.
fn make(plan: &Plan, shared: &Arc<Shared>) -> Result<(Machine, Receiver<Words>), Trouble> {
    let failed = |why: io::Error| Trouble::Machine(why.to_string());
    let root = root::archive(&plan.root, plan.memory_mib)?;
    confine::give_up_privileges().map_err(failed)?;
    let runs = orders::hear(Arc::clone(shared)).map_err(failed)?;
    let machine = Machine::boot(root, plan.memory_mib, shared).map_err(Trouble::Machine)?;
    Ok((machine, runs))
}

/// Runs one command after the other, until there are no more orders.
fn obey(mut machine: Machine, runs: &Receiver<Words>, shared: &Arc<Shared>) -> io::Result<()> {
    while let Ok(words) = runs.recv() {
        let is_healthy = command::run(&mut machine, &words, shared)?;
        machine.renew(is_healthy);
    }
    Ok(())
}
