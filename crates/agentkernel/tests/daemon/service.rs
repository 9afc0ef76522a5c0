//! The daemon as a service of systemd.

use std::fs;

use agentkernel_testkit::tool_or_skip;

use crate::support::{Trial, work_file};

#[test]
fn the_unit_is_written_where_systemd_looks_and_removed_again() {
    let trial = Trial::new();
    let path = trial.environment.home().join(".config/systemd/user/agentkernel.service");
    let dry = trial.say(&["service", "install", "--dry-run"]).assert_success().stdout_text();
    assert!(dry.contains(" serve\nEnvironment=\"AGENTKERNEL_HOME=") && !path.exists(), "{dry}");
    let said = trial.say(&["service", "install"]).assert_success();
    assert!(said.stderr_text().contains("systemctl --user"), "{}", said.stderr_text());
    assert_eq!(fs::read_to_string(&path).expect("written"), dry);
    trial.say(&["service", "install"]).assert_success();
    trial.say(&["service", "uninstall"]).assert_success();
    assert!(!path.exists());
    trial.say(&["service", "uninstall"]).assert_success();
}

#[test]
fn a_unit_of_somebody_else_stays_as_it_is() {
    let trial = Trial::new();
    let folder = trial.environment.home().join(".config/systemd/user");
    fs::create_dir_all(&folder).expect("folder");
    let path = folder.join("agentkernel.service");
    fs::write(&path, "[Unit]\n").expect("write");
    for word in ["install", "uninstall"] {
        trial.say(&["service", word]).assert_code(125);
    }
    assert_eq!(fs::read_to_string(&path).expect("there"), "[Unit]\n");
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let Some(analyze) = tool_or_skip("systemd-analyze") else { return };
    let trial = Trial::new();
    let mut command = trial.command(&["service", "install", "--dry-run"]);
    command.env("AGENTKERNEL_HOME", "/srv/a \"b\" 100% $HOME");
    let unit = agentkernel_testkit::Finished::of(&mut command).assert_success().stdout;
    fs::write(work_file(&trial, "agentkernel.service"), unit).expect("write");
    let said = trial.environment.run(analyze, &["verify", "./agentkernel.service"]).assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), (String::new(), String::new()));
}
