//! `agentkernel stats`: what sandboxes use, beside what they may.

use std::time::Duration;

use agentkernel_api::SandboxStats;
use agentkernel_client::Client;
use serde::Serialize;

use super::{Format, daemon};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint, terminal};

/// How often --watch looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show what sandboxes use, beside what they may
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  agentkernel stats\n  agentkernel stats web --format json\n  agentkernel stats --watch"
)]
pub struct Args {
    /// Names or ids of the sandboxes [default: all that live]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Look again every second, until it is interrupted
    #[arg(long)]
    watch: bool,

    /// Print a table, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    format: Format,
}

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    sandboxes: &'a [Named],
}

#[derive(Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    stats: SandboxStats,
}

/// Prints it.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    daemon::ask(environment, async |client| {
        loop {
            let stats = collect(&client, &args.names).await?;
            match args.format {
                Format::Text => output::print(&(clear(args.watch) + &text(&stats)))?,
                Format::Json => output::print_json(&Json { schema: 1, sandboxes: &stats })?,
            }
            if !args.watch {
                return Ok(0);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// What wipes the screen, where there is one.
fn clear(watch: bool) -> String {
    if watch && terminal::is_stdout() { "\x1b[H\x1b[2J".into() } else { String::new() }
}

async fn collect(client: &Client, names: &[String]) -> Result<Vec<Named>, Failure> {
    let mut all = Vec::new();
    if names.is_empty() {
        for sandbox in client.list(false).await?.sandboxes {
            // One that has ended meanwhile uses nothing.
            if let Ok(stats) = client.stats(&sandbox.id).await {
                all.push(Named { name: sandbox.name, stats });
            }
        }
    }
    for name in names {
        let stats = client.stats(name).await;
        all.push(Named { name: name.clone(), stats: daemon::told(client, name, stats).await? });
    }
    Ok(all)
}

fn text(all: &[Named]) -> String {
    let unknown = || "-".to_owned();
    let rows = all.iter().map(|Named { name, stats }| {
        let SandboxStats { usage, limits, processes, .. } = stats;
        vec![
            name.clone(),
            format!("{} of {}", usage.memory_bytes.map_or_else(unknown, paint::bytes), limits.memory),
            usage.memory_peak_bytes.map_or_else(unknown, paint::bytes),
            usage
                .cpu_ns
                .map_or_else(unknown, |ns| format!("{:.1} s", Duration::from_nanos(ns).as_secs_f64())),
            limits.cpus.clone(),
            format!("{} of {}", usage.pids.map_or_else(unknown, |pids| pids.to_string()), limits.pids),
            processes.to_string(),
        ]
    });
    let heading = ["name", "memory", "peak", "cpu time", "cpus", "pids", "commands"];
    paint::lines(&paint::table(&heading, rows))
}
