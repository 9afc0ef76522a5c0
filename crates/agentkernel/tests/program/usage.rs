//! Wrong words: exit code 2, and the nearest right one.

use crate::support::Trial;

/// What is said on stderr about these words, which are wrong.
fn complaint(words: &[&str]) -> String {
    let trial = Trial::new();
    let said = trial.say(words).assert_code(2);
    assert_eq!(said.stdout_text(), "", "stdout is data only");
    trial.neutral(said.stderr_text().lines().next().unwrap_or_default())
}

fn run_complaint(flags: &[&str]) -> String {
    complaint(&[&["run"], flags, &["--", "true"]].concat())
}

#[test]
fn an_unknown_value_is_told_the_nearest_valid_one() {
    insta::assert_snapshot!(run_complaint(&["--backend", "ocl"]), @"");
    insta::assert_snapshot!(run_complaint(&["--profile", "permisive"]), @"");
    insta::assert_snapshot!(run_complaint(&["--image", "hots"]), @"");
    insta::assert_snapshot!(run_complaint(&["--format", "jsn"]), @"");
}

#[test]
fn a_value_that_cannot_be_read_is_told_how_to_write_it() {
    insta::assert_snapshot!(run_complaint(&["--memory", "lots"]), @"");
    insta::assert_snapshot!(run_complaint(&["--cpus", "0"]), @"");
    insta::assert_snapshot!(run_complaint(&["--pids", "0"]), @"");
    insta::assert_snapshot!(run_complaint(&["--disk", "unlimited"]), @"");
    insta::assert_snapshot!(run_complaint(&["--timeout", "soon"]), @"");
    insta::assert_snapshot!(run_complaint(&["--user", "alice"]), @"");
    insta::assert_snapshot!(run_complaint(&["--name", "../evil"]), @"");
}

#[test]
fn a_flag_that_does_not_exist_is_no_command() {
    insta::assert_snapshot!(run_complaint(&["--memroy", "1G"]), @"");
    insta::assert_snapshot!(complaint(&["run"]), @"");
    insta::assert_snapshot!(complaint(&["run", "--", ""]), @"");
    insta::assert_snapshot!(complaint(&["rum"]), @"");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_booted() {
    insta::assert_snapshot!(run_complaint(&["-t"]), @"");
    insta::assert_snapshot!(run_complaint(&["-w", "src"]), @"");
    insta::assert_snapshot!(run_complaint(&["-e", "=x"]), @"");
    insta::assert_snapshot!(run_complaint(&["--user", "root"]), @"");
    insta::assert_snapshot!(run_complaint(&["--rootfs", "no-such-folder"]), @"");
    insta::assert_snapshot!(run_complaint(&["--rootfs", "/", "--image", "host"]), @"");
}

#[test]
fn a_mount_is_checked_when_it_is_typed() {
    insta::assert_snapshot!(run_complaint(&["-v", "no-such-file:/workspace/x"]), @"");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp"]), @"");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:/mnt:rx"]), @"");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:/etc"]), @"");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:mnt"]), @"");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:/mnt", "-v", "/var:/mnt"]), @"");
}

#[test]
fn the_environment_is_checked_like_flags() {
    let trial = Trial::new();
    let with = |name: &str, value: &str| {
        let mut command = trial.command(&["run", "--", "true"]);
        agentkernel_testkit::Finished::of(command.env(name, value)).assert_code(2).stderr_text()
    };
    insta::assert_snapshot!(with("AGENTKERNEL_BACKEND", "dokcer"), @"");
    insta::assert_snapshot!(with("AGENTKERNEL_HOME", "relative/folder"), @"");
}

#[test]
fn the_zygote_is_for_programs() {
    insta::assert_snapshot!(complaint(&["zygote"]), @"");
}
