//! `agentkernel doctor`: what works here, and what the rest needs.

use std::sync::Arc;

use agentkernel_core::Availability;
use agentkernel_oci::Zygote;
use agentkernel_runtime::Registry;
use agentkernel_runtime::doctor::{self, Answer, Diagnosis, HostPosture};
use serde::Serialize;

use super::{Format, block_on};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// Try each backend, and say what works here and what the rest needs
///
/// Exit code 0 if at least one backend works, else 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print text, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    format: Format,
}

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    version: &'static str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
}

/// Examines the host and prints what was found.
pub fn main(args: &Args, environment: &Environment, zygote: Arc<Zygote>) -> Result<u8, Failure> {
    let registry = Registry::new(zygote, environment.runtime_dir(), &environment.search_path());
    let diagnosis = block_on(async { Ok(doctor::examine(&registry).await) })?;
    match args.format {
        Format::Text => output::print(&text(&diagnosis))?,
        Format::Json => {
            let json = Json { schema: 1, version: env!("CARGO_PKG_VERSION"), diagnosis: &diagnosis };
            output::print_json(&json)?;
        }
    }
    Ok(u8::from(!diagnosis.is_usable()))
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut rows = Vec::new();
    for backend in &diagnosis.backends {
        let kind = backend.backend.to_string();
        match &backend.availability {
            Availability::Available { facts } => {
                rows.push(vec![kind, "available".into(), backend.description.clone()]);
                rows.extend(facts.iter().map(|(name, value)| continued(&format!("{name}: {value}"))));
            }
            Availability::Unavailable { needs, hint } => {
                rows.push(vec![kind, "unavailable".into(), format!("needs {needs}")]);
                rows.push(continued(&format!("hint: {hint}")));
            }
        }
    }
    let backends = paint::lines(&paint::table(&["backend", "status", "details"], rows));
    let host = paint::lines(&paint::table(&["host", ""], host_rows(&diagnosis.host)));
    format!("{backends}\n{host}")
}

fn continued(details: &str) -> Vec<String> {
    vec![String::new(), String::new(), details.to_owned()]
}

fn host_rows(host: &HostPosture) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let writable = if host.cgroups.writable { "writable" } else { "not writable for this user" };
    let mut rows = vec![
        row("kernel", format!("Linux {} on {}", host.kernel, host.architecture)),
        row("user namespaces", answer(&host.user_namespaces)),
        row("seccomp", answer(&host.seccomp)),
        row("cgroups", format!("{}, {writable}", host.cgroups.version)),
        row("kvm", host.kvm.describe()),
        row("swap", if host.swap { "on; sandboxes get none" } else { "off" }.into()),
    ];
    if let Some(hint) = host.kvm.hint() {
        rows.insert(5, row("", format!("hint: {hint}")));
    }
    rows
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Yes => "yes".into(),
        Answer::No { why } => format!("no: {why}"),
    }
}
