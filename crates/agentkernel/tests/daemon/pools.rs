//! Warm sandboxes, by number.

use serde_json::Value;

use crate::support::{DEADLINE, Trial, comes_true};

/// The pool of the embedded boundary.
pub fn pool(trial: &Trial) -> Value {
    pool_of(trial, "oci")
}

/// The pool of a backend.
pub fn pool_of(trial: &Trial, backend: &str) -> Value {
    let said = trial.say(&["pool", "ls", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let pools = json["pools"].as_array().expect("a list");
    pools.iter().find(|pool| pool["backend"] == backend).expect("it is listed").clone()
}

/// Waits until so many of a backend are warm.
#[track_caller]
pub fn warms_up(trial: &Trial, backend: &str, number: u64) {
    let is_warm = comes_true(DEADLINE, || pool_of(trial, backend)["warm"] == number);
    assert!(is_warm, "not {number} are warm: {}", pool_of(trial, backend));
}

#[test]
fn a_pool_is_filled_to_its_size_and_drained() {
    let Some(trial) = Trial::booting() else { return };
    trial.say(&["pool", "set", "3..3"]).assert_success();
    assert!(comes_true(DEADLINE, || pool(&trial)["warm"] == 3), "{}", pool(&trial));
    let text = trial.say(&["pool", "ls"]).assert_success().stdout_text();
    assert!(text.contains("WARM") && text.contains("3 (3..3)"), "{text}");
    trial.say(&["pool", "set", "0..0"]).assert_success();
    let said = trial.say(&["pool", "drain"]).assert_success();
    assert_eq!(said.stdout_text(), "");
    assert!(comes_true(DEADLINE, || pool(&trial)["warm"] == 0), "{}", pool(&trial));
}

#[test]
fn warm_sandboxes_have_run_what_they_were_to_run_and_go_to_who_asks_for_that() {
    let Some(trial) = Trial::booting() else { return };
    let warmed = ["--warm-up", "sleep 0.1; echo warmed >left"];
    trial.say(&[&["pool", "set", "1..1"], &warmed[..]].concat()).assert_success();
    let run = |flags: &[&str]| {
        let words = [&["run", "--format", "json"], flags, &["--", "sh", "-c", "cat left; true"]].concat();
        let said = trial.say(&words).assert_success();
        let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        (json["origin"].clone(), json["stdout"].clone())
    };
    let warm = comes_true(DEADLINE, || {
        let (origin, left) = run(&warmed);
        assert_eq!(left, "warmed\n", "of a sandbox that is {origin}");
        origin == "warm"
    });
    assert!(warm, "the pool does not get warm");
    assert_eq!(run(&[]).1, "", "who does not ask for it");
}

#[test]
fn what_there_is_no_room_for_is_refused_with_the_way_out() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.say(&["pool", "set", "500..500"]).assert_code(2).stderr_text();
    assert!(
        said.contains("500 of these cannot be warm: at most") && said.contains("--pool 500..500"),
        "{said}"
    );
    // What is only a bound may be large.
    trial.say(&["pool", "set", "0..500"]).assert_success();
}

#[test]
fn the_size_of_a_pool_is_checked_when_it_is_typed() {
    let trial = Trial::new();
    for wrong in ["3..2", "x", "1.."] {
        let said = trial.say(&["pool", "set", wrong]).assert_code(2);
        assert!(said.stderr_text().contains("LOW..HIGH"), "{}", said.stderr_text());
    }
}
