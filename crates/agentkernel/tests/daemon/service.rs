//! The daemon as a service of systemd.

use std::fs;

use crate::support::Trial;

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
