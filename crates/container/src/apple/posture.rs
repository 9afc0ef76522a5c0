//! The posture of a live container: what the program says that it did, and what the guest's kernel says from inside.
//!
//! Nothing of a machine can be read on its host. What the program tells (`engine.…`) is its own word. What is told from
//! inside (`inside.…`) is read by our agent, which the program executes anew in the container: before the first command
//! it is the kernel's word, and after it that of a kernel to which commands had access through a filter.

mod inside;

use agentkernel_core::{Posture, SandboxSpec};
use serde_json::{Value, json};

use crate::posture::said_by_the_engine;
pub(super) use inside::Report;

/// What the posture of one container must be.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    spec: SandboxSpec,
    told: Value,
}

impl Expected {
    pub(super) fn new(spec: &SandboxSpec, told: Value) -> Self {
        Self { spec: spec.clone(), told }
    }

    pub(super) fn spec(&self) -> &SandboxSpec {
        &self.spec
    }

    /// Judges the configuration that was told, and what was reported.
    pub(super) fn check(&self, inspected: &Value, report: &Report) -> Posture {
        let mut controls = said_by_the_engine(&self.told, &in_order(&inspected["configuration"]));
        controls.extend(report.controls(&self.spec));
        Posture { controls }
    }
}

/// A configuration whose lists that have no order are in one: mounts by their places, their options, limits by name.
pub(super) fn in_order(configuration: &Value) -> Value {
    let mut ordered = configuration.clone();
    for mount in ordered["mounts"].as_array_mut().into_iter().flatten() {
        sort(&mut mount["options"], |option| option.as_str().unwrap_or_default().to_owned());
    }
    sort(&mut ordered["mounts"], |mount| mount["destination"].as_str().unwrap_or_default().to_owned());
    sort(&mut ordered["initProcess"]["rlimits"], |limit| {
        limit["limit"].as_str().unwrap_or_default().to_owned()
    });
    ordered
}

fn sort(list: &mut Value, key: impl Fn(&Value) -> String) {
    // What is no list stays what it is.
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.sort_by_key(|item| key(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_compared_without_their_order() {
        let one = json!({
            "mounts": [
                {"destination": "/b", "options": ["y", "x"]},
                {"destination": "/a", "options": []},
            ],
            "initProcess": {"rlimits": [{"limit": "B"}, {"limit": "A"}]},
        });
        let other = json!({
            "mounts": [
                {"destination": "/a"},
                {"destination": "/b", "options": ["x", "y"]},
            ],
            "initProcess": {"rlimits": [{"limit": "A"}, {"limit": "B"}]},
        });
        assert_eq!(in_order(&one), in_order(&other));
        assert_ne!(in_order(&one), in_order(&json!({})));
    }
}
