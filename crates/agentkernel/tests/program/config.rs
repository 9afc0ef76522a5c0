//! agentkernel.toml, in the user's folder and in the working directory.

use crate::support::Trial;

#[test]
fn a_project_file_cannot_weaken() {
    let trial = Trial::new();
    for key in ["memory = \"1G\"", "profile = \"permissive\"", "pids = \"unlimited\"", "backend = \"oci\""] {
        trial.write_project_config(&format!("[run]\n{key}\n"));
        trial.say(&["run", "--", "true"]).assert_code(2);
    }
    trial.write_project_config("[run]\nmemory = \"1G\"\n");
    let said = trial.say(&["run", "--", "true"]).assert_code(2);
    insta::assert_snapshot!(trial.neutral(&said.stderr_text()), @r#"
    agentkernel: read the configuration: ROOT/work/agentkernel.toml: run.memory: 1G is weaker than 512M, which holds without it, and a file in the working directory can only make things stricter
    hint: say --memory 1G on the command line, or put it into ROOT/agentkernel/agentkernel.toml
    "#);
}

#[test]
fn an_unknown_key_is_told_the_nearest_valid_one() {
    let trial = Trial::new();
    trial.write_user_config("timout = \"3s\"\n");
    let said = trial.say(&["run", "--", "true"]).assert_code(2);
    insta::assert_snapshot!(trial.neutral(&said.stderr_text()), @r#"
    agentkernel: read the configuration: ROOT/agentkernel/agentkernel.toml: run.timout: unknown key (known: backend, image, rootfs, profile, cpus, memory, pids, disk, output_limit, timeout)
    hint: did you mean 'run.timeout'?
    "#);
}

#[test]
fn a_hostile_project_file_cannot_steer_the_terminal() {
    let trial = Trial::new();
    trial.write_project_config("[run]\n\"\\u001b]0;evil\\u0007\" = 1\n");
    let said = trial.say(&["run", "--", "true"]).assert_code(2);
    assert!(!said.stderr.contains(&0x1b), "{:?}", said.stderr_text());
}

#[test]
fn a_project_file_makes_stricter_and_a_flag_has_the_last_word() {
    let Some(trial) = Trial::booting() else { return };
    trial.write_user_config("output_limit = \"5K\"\n");
    trial.write_project_config("[run]\noutput_limit = 4\n");
    assert_eq!(trial.sh(&[], "echo 123456789").stdout_text(), "1234");
    assert_eq!(trial.sh(&["--output-limit", "1M"], "echo 123456789").stdout_text(), "123456789\n");
}

#[test]
fn the_users_file_sets_defaults() {
    let Some(trial) = Trial::booting() else { return };
    trial.write_user_config("timeout = \"300ms\"\n");
    trial.sh(&[], "sleep 60").assert_code(124);
    trial.sh(&["--timeout", "50s"], "sleep 0.5").assert_success();
}
