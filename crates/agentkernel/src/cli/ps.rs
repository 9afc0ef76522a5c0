//! `agentkernel ps`, also called `ls`: the sandboxes that there are.

use agentkernel_api::{Sandbox, State};
use serde::Serialize;

use super::{Format, daemon};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// List the sandboxes that live; with -a, also those that have ended, and why
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  agentkernel ps -a\n  agentkernel ps -q | xargs agentkernel stop")]
pub struct Args {
    /// Also those that have ended
    #[arg(short = 'a', long)]
    all: bool,

    /// Names only
    #[arg(short = 'q', long)]
    quiet: bool,

    /// Print a table, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    format: Format,
}

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    sandboxes: &'a [Sandbox],
}

/// Lists them.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let list = daemon::ask(environment, async |client| Ok(client.list(args.all).await?))?;
    match args.format {
        _ if args.quiet => output::print(&names(&list.sandboxes))?,
        Format::Text => output::print(&text(&list.sandboxes, args.all))?,
        Format::Json => output::print_json(&Json { schema: 1, sandboxes: &list.sandboxes })?,
    }
    Ok(0)
}

fn names(sandboxes: &[Sandbox]) -> String {
    sandboxes.iter().map(|sandbox| format!("{}\n", sandbox.name)).collect()
}

fn text(sandboxes: &[Sandbox], all: bool) -> String {
    let now = paint::now_ms();
    let mut heading = vec!["name", "state", "backend", "age", "time left"];
    if all {
        heading.push("cause");
    }
    let rows = sandboxes.iter().map(|sandbox| {
        let mut row = vec![
            sandbox.name.clone(),
            sandbox.state.to_string(),
            sandbox.backend.clone(),
            paint::age(now.saturating_sub(sandbox.created_ms)),
            time_left(sandbox, now),
        ];
        if all {
            row.push(cause(sandbox));
        }
        row
    });
    paint::lines(&paint::table(&heading, rows))
}

fn time_left(sandbox: &Sandbox, now: u64) -> String {
    match sandbox.deadline_ms.filter(|_| sandbox.state != State::Ended) {
        Some(deadline) => paint::age(deadline.saturating_sub(now)),
        None => "-".into(),
    }
}

/// Why it ended, with what else is known.
fn cause(sandbox: &Sandbox) -> String {
    let Some(cause) = sandbox.cause else { return "-".into() };
    match sandbox.detail.as_deref().filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("{cause}: {}", paint::one_line(detail)),
        None => cause.to_string(),
    }
}
