//! The thread that hears orders. Their end is the end of this process, whatever the machine does.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use agentkernel_hyperlight::wire::{self, Order, Words};

use crate::shared::Shared;

/// Hears what is ordered from now on; commands to be run are passed on.
pub fn hear(shared: Arc<Shared>) -> io::Result<Receiver<Words>> {
    let (runs, received) = mpsc::channel();
    thread::Builder::new().name("ak-orders".into()).spawn(move || {
        while let Ok(order) = wire::read(io::stdin().lock()) {
            match order {
                Order::Run(words) => {
                    shared.expect();
                    if runs.send(words).is_err() {
                        break;
                    }
                }
                Order::Stdin(bytes) => shared.give(bytes),
                Order::StdinEnd => shared.end_stdin(),
                Order::Kill => shared.kill(),
                Order::Boot(_) => break,
            }
        }
        std::process::exit(0);
    })?;
    Ok(received)
}
