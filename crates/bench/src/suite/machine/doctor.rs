//! What doctor says of this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use agentkernel_core::{Availability, Result};
use serde_json::Value;

use super::Site;
use crate::refusal::host;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its answer.
pub struct Doctor {
    /// Of the backends that it knows, what is in the way of each.
    pub backends: BTreeMap<String, Option<String>>,
    /// How KVM is there, in a word.
    pub kvm: Option<String>,
}

impl Doctor {
    /// Asks it.
    pub fn ask(site: &Site) -> Result<Self> {
        let failed = |why: String| host("ask doctor", site.program.display(), why);
        // Exit code 1 says that nothing works here: its words say why.
        let words = [site.program.display().to_string(), "doctor".into(), "--format".into(), "json".into()];
        let mut client = site.start(&words, false, false).map_err(|why| failed(why.to_string()))?;
        let ended = client.wait(PATIENCE).map_err(|why| failed(why.to_string()))?;
        ended.ok_or_else(|| failed("it does not end".into()))?;
        let json: Value =
            serde_json::from_slice(&client.output().0).map_err(|why| failed(why.to_string()))?;
        let backends = json["backends"].as_array().into_iter().flatten();
        let backends =
            backends.filter_map(|backend| Some((backend["backend"].as_str()?.to_owned(), obstacle(backend))));
        Ok(Self {
            backends: backends.collect(),
            kvm: json["host"]["kvm"]["mark"].as_str().map(str::to_owned),
        })
    }
}

fn obstacle(backend: &Value) -> Option<String> {
    match serde_json::from_value(backend.clone()) {
        Ok(Availability::Available { .. } | Availability::Limited { .. }) => None,
        Ok(Availability::Unavailable { needs, .. }) => Some(format!("it needs {needs}")),
        Err(why) => Some(format!("doctor does not say: {why}")),
    }
}
