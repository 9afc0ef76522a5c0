//! `agentkernel events`: what happens to sandboxes, as it happens.

use agentkernel_api::{Event, EventKind};
use bytes::Bytes;

use super::{Format, daemon};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::output::Plain;

/// Print what happens to sandboxes, as it happens
///
/// One line for each event from now on, until it is interrupted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel events --format json | jq .kind")]
pub struct Args {
    /// As always: events are followed
    #[arg(short = 'f', long, hide = true)]
    follow: bool,

    /// Print text, or one JSON object for each event
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    format: Format,
}

/// Prints them.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    daemon::ask(environment, async |client| {
        let mut events = client.events().await?;
        let mut output = Plain::default();
        while let Some(event) = output.or_gone(events.next()).await? {
            let line = match args.format {
                Format::Text => text(&event),
                Format::Json => serde_json::to_string(&event).unwrap_or_default(),
            };
            output.write(Bytes::from(line + "\n")).await?;
        }
        output.finish().await?;
        Ok(0)
    })
}

fn text(event: &Event) -> String {
    let what = match event.kind {
        EventKind::State => event.state.to_string(),
        EventKind::Timeout => "timeout changed".into(),
        EventKind::Started => "command started".into(),
        EventKind::Exited => "command exited".into(),
        EventKind::Failed => "failed".into(),
    };
    let cause = event.cause.map_or_else(String::new, |cause| format!(": {cause}"));
    let pid = event.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    format!("{} {} {what}{cause}{pid}", event.sequence, event.name)
}
