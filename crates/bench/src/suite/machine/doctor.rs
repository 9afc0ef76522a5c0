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
    /// The backends that it knows.
    pub backends: BTreeMap<String, Found>,
    /// How KVM is there, in a word.
    pub kvm: Option<String>,
}

/// What it says of a backend.
#[derive(Debug, Clone)]
pub struct Found {
    /// What is in its way.
    pub obstacle: Option<String>,
    /// Whether it works emulated and not otherwise.
    pub is_emulated: bool,
}

/// How the limitation begins of a backend that works emulated and not otherwise.
const ONLY_EMULATED: &str = "only by --emulate";

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
            backends.filter_map(|backend| Some((backend["backend"].as_str()?.to_owned(), found(backend))));
        Ok(Self {
            backends: backends.collect(),
            kvm: json["host"]["kvm"]["mark"].as_str().map(str::to_owned),
        })
    }
}

fn found(backend: &Value) -> Found {
    let mut is_emulated = false;
    let obstacle = match serde_json::from_value(backend.clone()) {
        Ok(Availability::Available { .. }) => None,
        Ok(Availability::Limited { limitation, .. }) => {
            is_emulated = limitation.starts_with(ONLY_EMULATED);
            is_emulated.then(|| format!("it works {limitation}"))
        }
        Ok(Availability::Unavailable { needs, .. }) => Some(format!("it needs {needs}")),
        Err(why) => Some(format!("doctor does not say: {why}")),
    };
    Found { obstacle, is_emulated }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_works_only_emulated_has_an_obstacle_unless_that_is_wanted() {
        let limited = |limitation: &str| {
            let availability = Availability::Limited { facts: vec![], limitation: limitation.into() };
            let mut json = serde_json::to_value(availability).expect("JSON");
            json["backend"] = json!("qemu");
            found(&json)
        };
        let emulated = limited("only by --emulate, in software");
        assert!(emulated.is_emulated);
        assert_eq!(emulated.obstacle.as_deref(), Some("it works only by --emulate, in software"));
        let other = limited("it runs one command at a time");
        assert!(!other.is_emulated && other.obstacle.is_none());
    }
}
