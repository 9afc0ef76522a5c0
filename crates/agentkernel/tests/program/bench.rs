//! Benchmarks that are run, kept and compared.

use serde_json::Value;

use crate::support::Trial;

#[test]
fn a_run_is_kept_with_its_samples_and_compared_with_itself() {
    let Some(trial) = Trial::alone() else { return };
    let words = ["bench", "run", "startup", "phases", "stress", "--backend", "oci", "--seed", "7"];
    let few = ["--iterations", "3", "--warm-ups", "1", "--at-once", "2", "--count", "4", "--output", "kept"];
    let said = trial.say(&[&words[..], &few[..]].concat()).assert_code(0);
    assert!(said.stdout_text().starts_with("## Startup"), "{}", said.stdout_text());
    let kept = std::fs::read_dir(trial.environment.work().join("kept")).expect("made");
    let folder = kept.flatten().next().expect("a run").path();
    let text = std::fs::read_to_string(folder.join("results.json")).expect("saved");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["complete"], &json["facts"]["plan"]["seed"]), (&true.into(), &7.into()));
    for (benchmark, samples) in [(0, 3), (1, 3), (2, 4)] {
        let rows = json["benchmarks"][benchmark]["rows"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["target"] == "oci").expect("its row");
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(samples), "{row}");
    }
    let folder = folder.display().to_string();
    let compared = trial.say(&["bench", "compare", &folder, &folder]).assert_code(0).stdout_text();
    assert!(compared.contains("| startup oci × 1 |") && compared.contains("within 15 %"), "{compared}");
    assert_eq!(trial.say(&["bench", "report", &folder]).assert_code(0).stdout_text(), said.stdout_text());
    // Doctor, which a run asks, keeps what it found out; sandboxes leave nothing.
    let records = std::fs::read_dir(trial.environment.agentkernel_home().join("run/sandboxes"));
    assert_eq!(records.into_iter().flatten().count(), 0);
}

#[test]
fn wrong_plans_backends_tools_and_results_are_told_by_name() {
    let trial = Trial::new();
    for (words, told) in [
        (&["bench", "run", "speed"][..], "there are startup, phases, concurrent, stress"),
        (&["bench", "run", "startup", "--backend", "warp"], "find the backend: warp"),
        (&["bench", "run", "startup", "--vs", "warp"], "find the tool: warp"),
        (&["bench", "run", "startup", "--iterations", "0"], "--iterations"),
    ] {
        let said = trial.say(words).assert_code(2).stderr_text();
        assert!(said.contains(told), "{words:?}: {said}");
    }
    let file = trial.environment.work().join("results.json");
    std::fs::write(&file, r#"{"schema":"agentkernel-bench/run","schema_version":9}"#).expect("written");
    let said = trial.say(&["bench", "report", "results.json"]).assert_code(2).stderr_text();
    assert!(said.contains("schema version is 9, and 1 is understood"), "{said}");
}
