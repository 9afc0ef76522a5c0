//! Warm sandboxes, by number.

use serde_json::Value;

use crate::support::{DEADLINE, Trial, comes_true};

/// The pool of the embedded boundary.
pub fn pool(trial: &Trial) -> Value {
    let said = trial.say(&["pool", "ls", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let pools = json["pools"].as_array().expect("a list");
    pools.iter().find(|pool| pool["backend"] == "oci").expect("it is listed").clone()
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
