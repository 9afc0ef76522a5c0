//! What every sandbox that lives on can be given: a name, labels, and how long it lives.

use std::collections::BTreeMap;
use std::time::Duration;

use agentkernel_api::RestoreRequest;
use agentkernel_core::{Result, SandboxName, parse_duration};

use super::flags::usage;
use super::wire;

/// They.
#[derive(Debug, Clone, clap::Args)]
pub struct LifeFlags {
    /// Remember something of it. May be repeated
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,

    /// Kill it after this time, in ms, s, m or h [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Kill it when nobody has used it for this time [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,

    /// Name of the sandbox: a-z, 0-9 and - [default: random]
    #[arg(long, value_name = "NAME")]
    pub name: Option<SandboxName>,
}

impl LifeFlags {
    /// As a daemon is asked for it.
    pub fn request(&self) -> Result<RestoreRequest> {
        Ok(RestoreRequest {
            name: self.name.as_ref().map(ToString::to_string),
            labels: self.labels.iter().map(|text| label(text)).collect::<Result<BTreeMap<_, _>>>()?,
            timeout_ms: self.timeout.map(wire::milliseconds),
            idle_timeout_ms: self.idle_timeout.map(wire::milliseconds),
        })
    }
}

fn label(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(usage(format!("--label {text}"), "it is not a label; write KEY=VALUE")),
    }
}
