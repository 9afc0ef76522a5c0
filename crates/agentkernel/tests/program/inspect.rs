//! A live sandbox, seen by another program.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Trial;

#[test]
fn every_control_of_a_live_sandbox_is_shown_and_holds() {
    let Some(trial) = Trial::booting() else { return };
    let running = trial.start(&[], "echo ready; exec sleep 60");
    let said = trial.say(&["inspect", &trial.name, "--posture", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!((&json["schema"], &json["backend"]), (&Value::from(1), &Value::from("oci")));
    assert_eq!(json["name"], trial.name.as_str());
    assert_eq!(json["posture"]["holds"], true);
    assert!(json["posture"]["controls"].as_array().is_some_and(|controls| controls.len() > 10));
    let text = trial.say(&["inspect", &trial.name, "--posture"]).assert_success().stdout_text();
    assert!(text.contains("CONTROL") && text.contains("controls hold"), "{text}");
    let plain = trial.say(&["inspect", &trial.name]).assert_success().stdout_text();
    assert!(!plain.contains("CONTROL"), "{plain}");
    running.signal(Signal::TERM);
    running.finish();
}

#[test]
fn a_name_that_nobody_has_is_told_the_nearest_live_one() {
    let trial = Trial::new();
    let said = trial.say(&["inspect", &trial.name]).assert_code(125);
    insta::assert_snapshot!(trial.neutral(&said.stderr_text()), @"agentkernel: find the sandbox: NAME: no live sandbox has this name");
    let Some(trial) = Trial::booting() else { return };
    let running = trial.start(&[], "echo ready; exec sleep 60");
    let wrong = format!("{}x", trial.name);
    let said = trial.say(&["inspect", &wrong]).assert_code(125);
    insta::assert_snapshot!(trial.neutral(&said.stderr_text()), @r#"
    agentkernel: find the sandbox: NAMEx: no live sandbox has this name
    hint: did you mean 'NAME'?
    "#);
    running.signal(Signal::TERM);
    running.finish();
}
