//! The same program in the hands of an ordinary user.

use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{TestEnvironment, available_or_skip};

use crate::support::PROGRAM;

/// The limits that an ordinary user cannot enforce here, given up by name.
const LOWERED: [&str; 4] = ["--memory", "unlimited", "--cpus", "unlimited"];

fn run(environment: &TestEnvironment, words: &[&str]) -> agentkernel_testkit::Finished {
    let program = environment.lend(PROGRAM.as_ref());
    let mut all = vec!["run"];
    all.extend(LOWERED);
    all.push("--");
    all.extend(words);
    environment.run(program, &all)
}

/// An environment of an ordinary user who may have user namespaces, or `None` after a loud skip.
fn environment() -> Option<TestEnvironment> {
    let environment = TestEnvironment::for_ordinary_user();
    let program = environment.lend(PROGRAM.as_ref());
    let doctor = environment.run(program, &["doctor", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("doctor prints JSON");
    let oci =
        report["backends"].as_array().expect("a list").iter().find(|backend| backend["backend"] == "oci");
    let oci = oci.expect("it is listed").clone();
    let availability = serde_json::from_value(oci).expect("an availability");
    available_or_skip("rootless", &availability).then_some(environment)
}

#[test]
fn an_ordinary_user_gets_the_same_walls() {
    let Some(environment) = environment() else { return };
    let finished = run(&environment, &["sh", "-c", "id -u; id -g; hostname; cat /proc/self/status"]);
    let text = finished.assert_success().stdout_text();
    let mut lines = text.lines();
    assert_eq!((lines.next(), lines.next()), (Some("65532"), Some("65532")));
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(text.contains(&format!("{field}:\t0000000000000000")), "{field}");
    }
    assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"));
}

#[test]
fn a_limit_that_cannot_be_had_is_refused_by_name() {
    let Some(environment) = environment() else { return };
    let program = environment.lend(PROGRAM.as_ref());
    let finished = environment.run(program, &["run", "--", "true"]).assert_code(125);
    let text = finished.stderr_text();
    assert!(text.contains("memory, cpus") && text.contains("--memory unlimited --cpus unlimited"), "{text}");
}

#[test]
fn a_runtime_is_refused_without_root_and_nothing_runs_instead() {
    let environment = TestEnvironment::for_ordinary_user();
    let program = environment.lend(PROGRAM.as_ref());
    for runtime in ["runc", "crun", "gvisor"] {
        let words = ["run", "--backend", runtime, "--", "echo", "ran"];
        let refused = environment.run(&program, &words).assert_code(125);
        let (out, text) = (refused.stdout_text(), refused.stderr_text());
        assert!(out.is_empty() && text.contains(runtime) && text.contains("it needs root"), "{out}{text}");
        assert!(text.contains("hint: "), "{text}");
    }
}

#[test]
fn an_ordinary_user_leaves_nothing_either() {
    let Some(environment) = environment() else { return };
    let marks = Marks::new().folder(environment.agentkernel_home().join("run"));
    let _warm_up = run(&environment, &["true"]);
    let before = Snapshot::take(&marks);
    for _ in 0..20 {
        let _finished = run(&environment, &["sh", "-c", "sleep 100 & exit 3"]).assert_code(3);
    }
    let leaks = before.settle(std::time::Duration::from_secs(10));
    assert!(leaks.is_empty(), "{}", describe(&leaks));
}

#[test]
fn an_ordinary_user_can_be_root_inside_and_gains_nothing() {
    let Some(environment) = environment() else { return };
    let program = environment.lend(PROGRAM.as_ref());
    let mut words = vec!["run", "--profile", "permissive", "--user", "root"];
    words.extend(LOWERED);
    words.extend(["--", "sh", "-c", "id -u; grep CapEff /proc/self/status"]);
    let text = environment.run(program, &words).assert_success().stdout_text();
    assert_eq!(text, "0\nCapEff:\t0000000000000000\n");
}
