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
        let begin = |job| {
            shared.expect();
            jobs.send(job).is_ok()
        };
        while let Ok(order) = wire::read(io::stdin().lock()) {
            let goes_on = match order {
                Order::Run(words) => begin(Job::Run(words)),
                Order::Call(call) => begin(Job::Call(call)),
                Order::Stdin(bytes) => {
                    shared.give(bytes);
                    true
                }
                Order::StdinEnd => {
                    shared.end_stdin();
                    true
                }
                Order::Kill => {
                    shared.kill();
                    true
                }
                Order::Boot(_) => false,
            };
            if !goes_on {
                break;
            }
        }
        std::process::exit(0);
    })?;
    Ok(received)
}
