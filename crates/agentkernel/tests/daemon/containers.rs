//! A daemon with warm containers of an engine.

use agentkernel_testkit::TestEngine;
use serde_json::Value;

use crate::support::{DEADLINE, Trial, comes_true};
use crate::survival::told;

/// How many are warm.
fn warm(trial: &Trial, backend: &str) -> u64 {
    let said = trial.say(&["pool", "ls", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let pools = json["pools"].as_array().expect("a list");
    let pool = pools.iter().find(|pool| pool["backend"] == backend);
    pool.and_then(|pool| pool["warm"].as_u64()).unwrap_or(0)
}

#[test]
fn containers_of_docker_are_kept_warm_used_once_and_gone_with_the_daemon() {
    let Some(engine) = TestEngine::docker() else { return };
    let Some(mut trial) = Trial::alone() else { return };
    trial.environment.use_engine(engine.address());
    trial.serve(&[]);
    trial.say(&["pool", "set", "2..2", "--backend", "docker"]).assert_success();
    assert!(comes_true(DEADLINE, || warm(&trial, "docker") == 2), "{} are warm", warm(&trial, "docker"));
    let words = ["run", "--backend", "docker", "--timing", "--", "sh", "-c", "echo $$ >used; ls; hostname"];
    let mut names = Vec::new();
    for _ in 0..2 {
        let said = trial.say(&words).assert_success();
        let (text, way) = (said.stdout_text(), said.stderr_text());
        assert!(way.contains("way: daemon, warm"), "{way}");
        assert!(text.starts_with("used\n"), "nothing of an earlier one: {text}");
        names.push(text);
        assert!(comes_true(DEADLINE, || warm(&trial, "docker") == 2), "it is not filled up again");
    }
    assert_ne!(names[0], names[1], "each is used once");
    trial.say(&["create", "--backend", "docker", "--name", "kept"]).assert_success();
    assert_eq!(told(&trial, "kept")["origin"], "warm", "a name is given to a warm one, too");
    trial.say(&["create", "--backend", "docker", "--name", "called", "--hostname", "web"]).assert_success();
    let said = trial.say(&["exec", "called", "--", "hostname"]).assert_success();
    assert_eq!(said.stdout_text(), "web\n");
    trial.say(&["shutdown", "--kill"]).assert_success();
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "containers are left");
}
