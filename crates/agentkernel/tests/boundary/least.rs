//! The least that a sandbox can be given.

use agentkernel_core::{Backend as _, Limits, Profile};
use serde_json::json;

use crate::support::{exec, fixture, spec_with};

#[tokio::test]
async fn the_least_number_of_open_files_is_enough_and_one_less_is_not() {
    let limits = Limits { open_files: Limits::OPEN_FILES_MIN, ..Limits::of(Profile::Restrictive) };
    let Some(enough) = fixture().await else { return };
    let sandbox = enough.backend.boot(&spec_with(limits)).await.expect("boots").sandbox;
    assert_eq!(exec(&*sandbox, &["sh", "-c", "ulimit -n"]).await.text(), Limits::OPEN_FILES_MIN.to_string());
    sandbox.stop().await.expect("stops");
    let Some(less) = fixture().await.map(|fixture| {
        fixture.weakened(|plan| {
            let rlimits = plan.config["process"]["rlimits"].as_array_mut().expect("a list");
            let files = rlimits.iter_mut().find(|limit| limit["type"] == "RLIMIT_NOFILE").expect("it is set");
            files["soft"] = json!(Limits::OPEN_FILES_MIN - 1);
        })
    }) else {
        return;
    };
    assert!(less.backend.boot(&spec_with(limits)).await.is_err(), "the agent needs less than is said");
}
