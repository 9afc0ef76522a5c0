//! The thread that hears orders. Their end is the end of this process, whatever the machine does.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use agentkernel_hyperlight::wire::{self, Call, Order, Words};

use crate::shared::Shared;

/// What a machine is for.
pub enum Job {
    Run(Words),
    Call(Call),
}

/// Hears what is ordered from now on; what is to be done in a machine is passed on.
pub fn hear(shared: Arc<Shared>) -> io::Result<Receiver<Job>> {
    let (jobs, received) = mpsc::channel();
    thread::Builder::new().name("ak-orders".into()).spawn(move || {
        while let Ok(order) = wire::read(io::stdin().lock()) {
            let job = match order {
                Order::Run(words) => Job::Run(words),
                Order::Call(call) => Job::Call(call),
                Order::Stdin(bytes) => {
                    shared.give(bytes);
                    continue;
                }
                Order::StdinEnd => {
                    shared.end_stdin();
                    continue;
                }
                Order::Kill => {
                    shared.kill();
                    continue;
                }
                Order::Boot(_) => break,
            };
            shared.expect();
            if jobs.send(job).is_err() {
                break;
            }
        }
        std::process::exit(0);
    })?;
    Ok(received)
}
