//! `--warm-up`: what a sandbox runs once before anybody gets it.

use crate::support::Trial;

#[test]
fn a_warm_up_runs_once_before_the_command_and_says_nothing() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.say(&["run", "--warm-up", "echo noise; echo $$ $# $0 >>left", "--", "cat", "left"]);
    let said = said.assert_success();
    let left = said.stdout_text();
    assert!(left.ends_with(" 0 /bin/sh\n") && left.lines().count() == 1, "{left}");
    assert_eq!(said.stderr_text(), "");
    trial.assert_nothing_left();
}

#[test]
fn a_warm_up_that_fails_is_no_start_and_tells_why() {
    let Some(trial) = Trial::booting() else { return };
    let said =
        trial.say(&["run", "--warm-up", "echo bad news >&2; exit 3", "--", "echo", "never"]).assert_code(125);
    assert_eq!(said.stdout_text(), "");
    let first = said.stderr_text().lines().next().unwrap_or_default().to_owned();
    insta::assert_snapshot!(trial.neutral(&first), @"agentkernel: warm the sandbox up: /bin/sh -c echo bad news >&2; exit 3: it ended with exit code 3: bad news");
    trial.assert_nothing_left();
    let module = trial.environment.work().join("module.wat");
    std::fs::write(&module, r#"(module (func (export "_start")))"#).expect("written");
    let words = ["run", "--module", "module.wat", "--warm-up", "true", "--", "word"];
    let said = trial.say(&words).assert_code(125);
    assert!(said.stderr_text().contains("warm-up: a module leaves nothing behind"), "{}", said.stderr_text());
}
