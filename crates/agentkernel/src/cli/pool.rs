//! `agentkernel pool`: warm sandboxes, which are used once and made again.

use std::str::FromStr;

use agentkernel_api::{DrainRequest, PoolRequest, PoolStats, SandboxRequest};
use clap::Subcommand;
use serde::Serialize;

use super::flags::{self, SandboxFlags};
use super::{Format, change, daemon, wire};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// List, set and drain the pools of warm sandboxes
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    subcommand: Words,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel pool set 8..32
  agentkernel pool set 2..4 --profile moderate --memory 4G
  agentkernel pool ls
  agentkernel pool drain";

#[derive(Debug, Subcommand)]
enum Words {
    /// List the pools, and what has happened in them
    Ls {
        /// Print a table, or one JSON object
        #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
        format: Format,
    },
    /// Keep at least LOW and at most HIGH sandboxes of a kind warm; the flags say which kind
    Set {
        /// How many
        #[arg(value_name = "LOW..HIGH")]
        size: PoolSize,
        #[command(flatten)]
        sandbox: Box<SandboxFlags>,
    },
    /// Stop warm sandboxes: those of the kind that the flags say, or without flags all
    Drain {
        #[command(flatten)]
        sandbox: Box<SandboxFlags>,
    },
}

/// Between how many sandboxes a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// At least so many.
    pub low: u32,
    /// At most so many.
    pub high: u32,
}

impl FromStr for PoolSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not the size of a pool; write LOW..HIGH, for example 4..16");
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let low = low.parse().map_err(|_| wrong())?;
        let high = high.trim_start_matches('=').parse().map_err(|_| wrong())?;
        if low > high { Err(wrong()) } else { Ok(Self { low, high }) }
    }
}

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    #[serde(flatten)]
    stats: &'a PoolStats,
}

/// Does it.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    match &args.subcommand {
        Words::Ls { format } => {
            let stats = daemon::ask(environment, async |client| Ok(client.pools().await?))?;
            match format {
                Format::Text => output::print(&text(&stats))?,
                Format::Json => output::print_json(&Json { schema: 1, stats: &stats })?,
            }
        }
        Words::Set { size, sandbox } => {
            let sandbox = kind(sandbox, environment)?;
            let request = PoolRequest { sandbox, low: size.low, high: size.high };
            daemon::ask(environment, async |client| Ok(client.set_pool(&request).await?))?;
        }
        Words::Drain { sandbox } => {
            let kind = (!sandbox.is_empty()).then(|| kind(sandbox, environment)).transpose()?;
            let request = DrainRequest { sandbox: kind };
            let reply = daemon::ask(environment, async |client| Ok(client.drain_pools(&request).await?))?;
            change::say_count("stopped", usize::try_from(reply.stopped).unwrap_or(usize::MAX));
        }
    }
    Ok(0)
}

/// The kind of sandbox that a run with these flags would take.
fn kind(flags: &SandboxFlags, environment: &Environment) -> Result<SandboxRequest, Failure> {
    let settings = flags::settings(&flags.layer(environment)?, environment)?;
    let spec = flags.spec(None, environment, &settings)?;
    Ok(wire::sandbox(&spec, settings.backend, None, flags.hostname()))
}

/// The kind of sandbox that a run without flags would take.
pub fn usual_kind(environment: &Environment) -> Result<SandboxRequest, Failure> {
    kind(&SandboxFlags::default(), environment)
}

fn text(stats: &PoolStats) -> String {
    let mut rows = Vec::new();
    for pool in &stats.pools {
        for key in &pool.keys {
            let waits = pool.short_of_memory && key.warm + key.booting < key.target;
            rows.push(vec![
                pool.backend.clone(),
                key.key.clone(),
                key.warm.to_string(),
                if waits { "waits for memory".into() } else { key.booting.to_string() },
                format!("{} ({}..{})", key.target, key.low, key.high),
                key.counts.hits.to_string(),
                key.counts.misses.to_string(),
                key.counts.boot_failures.to_string(),
            ]);
        }
    }
    let heading = ["backend", "kind", "warm", "booting", "target", "hits", "misses", "failures"];
    paint::lines(&paint::table(&heading, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_pool_is_two_numbers_in_order() {
        assert_eq!("2..8".parse(), Ok(PoolSize { low: 2, high: 8 }));
        assert_eq!("3".parse(), Ok(PoolSize { low: 3, high: 3 }));
        for wrong in ["", "8..2", "a..b", "1..", "..", "-1..2"] {
            assert!(wrong.parse::<PoolSize>().is_err(), "{wrong}");
        }
    }
}
