//! What the program says about itself.

use crate::support::Trial;

#[test]
fn the_program_says_what_it_is_for() {
    let said = Trial::new().say(&["--help"]).assert_success();
    insta::assert_snapshot!(said.stdout_text(), @"");
}

#[test]
fn run_says_what_every_flag_does_with_its_unit_and_default() {
    let said = Trial::new().say(&["run", "-h"]).assert_success();
    insta::assert_snapshot!(said.stdout_text(), @"");
    let long = Trial::new().say(&["run", "--help"]).assert_success().stdout_text();
    assert!(long.contains("Examples:") && long.contains("Exit codes:"), "{long}");
}

#[test]
fn the_version_is_the_packages() {
    let said = Trial::new().say(&["--version"]).assert_success();
    assert_eq!(said.stdout_text(), format!("agentkernel {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn there_is_a_completion_script_for_every_shell_and_it_knows_the_words() {
    let trial = Trial::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = trial.say(&["completion", shell]).assert_success().stdout_text();
        for word in ["agentkernel", "output-limit", "restrictive"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("zygote__help"), "{shell}: a hidden subcommand is offered");
    }
    let script = trial.say(&["completion", "bash"]).assert_success().stdout;
    std::fs::write(crate::support::work_file(&trial, "script"), script).expect("write");
    trial.environment.run("/bin/bash", &["-n", "script"]).assert_success();
}
