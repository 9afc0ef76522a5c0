//! `agentkernel serve`: the daemon, which owns sandboxes and keeps some warm.

mod detach;
mod running;

use std::net::SocketAddr;
use std::time::Duration;

use agentkernel_core::parse_duration;

use super::pool::PoolSize;
use crate::environment::Environment;
use crate::errors::Failure;

pub use detach::start_if_missing;

/// Run the daemon: it owns sandboxes that live on, and keeps some warm
///
/// It listens on daemon.sock in its folder: AGENTKERNEL_HOME, or /run/agentkernel for root, or
/// $XDG_RUNTIME_DIR/agentkernel. With SIGTERM or SIGINT it lets commands end and then ends itself; a second one kills
/// everything at once. In either way nothing of any sandbox is left.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Run in the background, and return once it can be reached; it logs to daemon.log in its folder
    #[arg(short = 'd', long)]
    detach: bool,

    /// Listen on this loopback address, too; clients need a token of the file that is named then
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    tcp: Option<SocketAddr>,

    /// Keep so many sandboxes warm of the kind that a run without flags takes [default: as many as are asked for]
    #[arg(long, value_name = "LOW..HIGH")]
    pool: Option<PoolSize>,

    /// The most sandboxes that may live at once [default: 2048]
    #[arg(long, value_name = "NUMBER", value_parser = parse_sandboxes)]
    sandboxes: Option<usize>,

    /// How long commands may go on when it is told to end, in ms, s, m or h [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,

    /// Somebody started us for --detach
    #[arg(long, hide = true, conflicts_with = "detach")]
    background: bool,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel serve --detach --pool 4..16
  agentkernel serve --tcp 127.0.0.1:7777
  agentkernel shutdown
  agentkernel service install

Environment:
  AGENTKERNEL_LOG              what is logged, for example debug [default: info]
  OTEL_EXPORTER_OTLP_ENDPOINT  collector that gets a span for each request, as http://HOST:PORT";

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("'{text}' is not ADDR:PORT; write for example 127.0.0.1:7777"))
}

fn parse_sandboxes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("'{text}' is not a number of sandboxes; the least is 1"))
}

/// Serves until it is told to end.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    if args.detach { detach::start(args, environment) } else { running::serve(args, environment) }
}
