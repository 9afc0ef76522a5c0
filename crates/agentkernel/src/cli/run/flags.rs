//! How a run is made and reported: the flags that `run` and `eval` have in common.

use std::time::Duration;

use agentkernel_core::{ByteSize, parse_duration};

use crate::cli::Format;

/// How a run is made and reported.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RunFlags {
    /// Output that is passed on, stdout and stderr together, in bytes or with K, M, G, T [default: 64M]
    #[arg(long, value_name = "SIZE")]
    pub output_limit: Option<ByteSize>,

    /// Kill the command with all that it started after this time, in ms, s, m or h [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Print on stderr where the time went, in milliseconds
    #[arg(long)]
    pub timing: bool,

    /// Pass the command's output on as it is, or print one JSON object at the end [default: text]
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true, value_enum)]
    pub format: Format,

    /// Run it in this very process, even if there is a daemon with warm sandboxes
    #[arg(long)]
    pub no_daemon: bool,
}
