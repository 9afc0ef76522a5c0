//! The adversary of the sandbox tests: a program that, inside a sandbox, attempts attacks and prints one JSON
//! line for each. It knows nothing of the product, and no answer that it does not know counts as a refusal.

mod arguments;
mod attempt;
mod attempts;
mod child;
mod exhaust;
mod output;
mod processes;
mod runner;
mod situation;
mod sys;
mod walk;

use std::process::ExitCode;

use arguments::{Request, USAGE};
use attempt::Finding;
use situation::Situation;

fn main() -> ExitCode {
    // First of all: later there are descriptors of our own.
    let situation = Situation::at_start();
    match arguments::parse(std::env::args_os().skip(1), situation) {
        Ok(Request::List) => list(),
        Ok(Request::Attempts { ids, situation }) => run(&ids, &situation),
        Ok(Request::Exhaust { name, options }) => exhaust::run(&name, &options),
        Err(why) => {
            eprintln!("attack-probe: {why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn list() -> ExitCode {
    for (group, attempt) in attempts::all() {
        if output::listed(group, attempt).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Success means that every line was printed, whatever it says.
fn run(ids: &[String], situation: &Situation) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        let attempt = attempts::find(id);
        let finding = match attempt {
            Some(attempt) => runner::run(attempt, situation, runner::DEADLINE),
            None => {
                code = ExitCode::from(2);
                Finding::error("there is no such attempt")
            }
        };
        let is_informational = attempt.is_some_and(|attempt| attempt.informational);
        if output::found(id, &finding, is_informational).is_err() {
            return ExitCode::FAILURE;
        }
    }
    code
}
