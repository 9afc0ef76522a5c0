//! Controls taken away one at a time: the posture must miss them, and the attacks that they stop must work.

use agentkernel_container::ContainerBackend;
use agentkernel_core::Backend as _;
use serde_json::Value;

use crate::attacks::{Bait, attack};
use crate::probe;
use crate::support::spec;

/// A control taken away, the attempts that must then say OPEN, and the controls of the posture that must not hold.
pub type Weakness = (&'static str, fn(&mut Value), &'static [&'static str], &'static [&'static str]);

/// Takes each away from a backend of its own.
pub async fn each_is_missed(backend: impl Fn() -> ContainerBackend, weaknesses: &[Weakness]) {
    let mut blind = Vec::new();
    for (what, change, ids, controls) in weaknesses {
        let booted = backend().weakened(*change).boot(&spec()).await;
        let sandbox = booted.unwrap_or_else(|error| panic!("{what}: {error}")).sandbox;
        let posture = sandbox.posture().await.expect("readable");
        for control in *controls {
            if !posture.broken().any(|broken| broken.name == *control) {
                blind.push(format!("with {what}, the posture says that {control} holds"));
            }
        }
        if !ids.is_empty() {
            probe::put_into(&*sandbox).await;
            let results = attack(&*sandbox, &Bait::plant(), ids).await;
            let verdict = |id: &str| results.get(id).map_or(&Value::Null, |result| &result["verdict"]);
            blind
                .extend(ids.iter().filter(|id| verdict(id) != "OPEN").map(|id| format!("with {what}, {id}")));
        }
        sandbox.stop().await.expect("stops");
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}
