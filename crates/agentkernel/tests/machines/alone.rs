//! Without a daemon.

use crate::rig::{MACHINE, root, trial};
use crate::support::work_file;

#[test]
fn a_linux_program_says_and_ends_exactly_as_it_does_elsewhere() {
    let Some(trial) = trial() else { return };
    let said = trial.say(&[&["run"], &MACHINE[..], &["--", "/bin/echo", "hello"]].concat());
    let said = said.assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), ("hello\n".into(), String::new()));
    let root = root().display().to_string();
    let run = |words: &[&str]| {
        trial.say(&[&["run"], &MACHINE[..], &["--rootfs", &root, "--", "left"], words].concat())
    };
    let said = run(&["complain", "77"]).assert_code(77);
    assert_eq!((said.stdout_text(), said.stderr_text()), (String::new(), "mine\n".into()));
    let crashed = run(&["crash"]).assert_code(128 + 11).stderr_text();
    assert!(crashed.starts_with("agentkernel: its machine crashed: "), "{crashed}");
    let missing = trial.say(&[&["run"], &MACHINE[..], &["--rootfs", &root, "--", "nothing"]].concat());
    assert_eq!(missing.assert_code(127).stdout_text(), "");
}

#[test]
fn a_module_is_run_and_called_by_its_name() {
    let Some(trial) = trial() else { return };
    for named in
        [&["--", "left.wasm"][..], &["left.wasm", "one", "two"], &["--module", "left.wasm", "--", "x"]]
    {
        let said = trial.say(&[&["run"], &MACHINE[..], named].concat()).assert_code(7);
        assert_eq!((said.stdout_text(), said.stderr_text()), ("3\n".into(), "mine\n".into()), "{named:?}");
    }
    // What only has such a name is a program, of which the root has none.
    std::fs::write(work_file(&trial, "program.wasm"), "#!/bin/sh\n").expect("written");
    trial.say(&[&["run"], &MACHINE[..], &["--", "program.wasm"]].concat()).assert_code(127);
    let call = |text: &str| trial.say(&[&["call"], &MACHINE[..], &["left.wasm", text]].concat());
    let said = call("add(40, 2)").assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), ("42\n".into(), String::new()));
    let said = call("add(40)").assert_code(2);
    assert_eq!(said.stdout_text(), "");
    assert!(said.stderr_text().contains("it takes 2 and not 1 arguments"), "{said:?}");
}
