//! The command gets exactly what was typed, and its exit code is ours.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use agentkernel_testkit::Finished;

use crate::support::{Trial, work_file};

#[test]
fn the_commands_exit_code_and_signal_are_ours() {
    let Some(trial) = Trial::booting() else { return };
    for code in [0, 1, 2, 42, 124, 125, 126, 127, 255] {
        trial.sh(&[], &format!("exit {code}")).assert_code(code);
    }
    trial.sh(&[], "kill -KILL $$").assert_code(128 + 9);
    trial.sh(&[], "kill -SEGV $$").assert_code(128 + 11);
    assert_eq!(trial.sh(&[], "exit 3").stderr_text(), "", "the command's failure is not ours to explain");
    trial.assert_nothing_left();
}

#[test]
fn what_cannot_be_run_has_the_exit_code_of_a_shell_and_a_hint() {
    let Some(trial) = Trial::booting() else { return };
    let missing = trial.say(&["run", "--", "no-such-program"]).assert_code(127);
    insta::assert_snapshot!(missing.stderr_text(), @r#"
    agentkernel: start the command: no-such-program: No such file or directory
    hint: it is in no folder of the sandbox's PATH; name it by its path, or set PATH for the command
    "#);
    let data = trial.say(&["run", "--", "/etc/passwd"]).assert_code(126);
    insta::assert_snapshot!(data.stderr_text(), @r#"
    agentkernel: start the command: /etc/passwd: Permission denied
    hint: make it executable with chmod +x, or run it with its interpreter
    "#);
    let folder = trial.say(&["run", "-w", "/no/such/folder", "--", "true"]).assert_code(125);
    insta::assert_snapshot!(folder.stderr_text(), @r#"
    agentkernel: change to the command's working directory: /no/such/folder: No such file or directory
    hint: make the folder first, or name one that exists in the sandbox
    "#);
}

#[test]
fn words_arrive_byte_for_byte() {
    let Some(trial) = Trial::booting() else { return };
    let words: [&[u8]; 9] =
        [b"", b" ", b"a  b", b"'\"\\", b"$HOME`id`", b"-n", b"--", b"line\nline", b"\xff\xfe \x80"];
    let mut command = trial.command(&["run", "--", "printf", "%s\\0"]);
    command.args(words.iter().map(|word| OsStr::from_bytes(word)));
    let said = Finished::of(&mut command).assert_success();
    let expected: Vec<u8> = words.iter().flat_map(|word| [word, &b"\0"[..]].concat()).collect();
    assert_eq!(said.stdout, expected);
}

#[test]
fn a_command_needs_no_dashes_before_it_and_keeps_its_own_flags() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.say(&["run", "printf", "%s|", "-v", "--", "--help"]).assert_success();
    assert_eq!(said.stdout_text(), "-v|--|--help|");
}

#[test]
fn only_named_variables_arrive_byte_for_byte() {
    let Some(trial) = Trial::booting() else { return };
    let mut command =
        trial.command(&["run", "-e", "GIVEN=a b=c", "-e", "TAKEN", "-e", "ABSENT", "-e", "EMPTY="]);
    command.arg("-e").arg(OsStr::from_bytes(b"BYTES=\xff\n"));
    command.env("TAKEN", "from here").env("SECRET", "not for you").args(["--", "env", "-0"]);
    let said = Finished::of(&mut command).assert_success();
    let mut variables: Vec<_> =
        said.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()).collect();
    variables.sort_unstable();
    let names: Vec<_> = variables
        .iter()
        .map(|line| String::from_utf8_lossy(line.split(|byte| *byte == b'=').next().unwrap_or_default()))
        .collect();
    assert_eq!(names, ["BYTES", "EMPTY", "GIVEN", "HOME", "PATH", "TAKEN", "TERM"]);
    for expected in [&b"BYTES=\xff\n"[..], b"EMPTY=", b"GIVEN=a b=c", b"TAKEN=from here"] {
        assert!(variables.contains(&expected), "no {}", expected.escape_ascii());
    }
}

#[test]
fn the_command_starts_where_and_as_whom_it_is_told() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.sh(&[], "pwd; id -u; id -g").assert_success();
    assert_eq!(said.stdout_text(), "/workspace\n65532\n65532\n");
    let said = trial.sh(&["-w", "/tmp", "--user", "1000:100"], "pwd; id -u; id -g").assert_success();
    assert_eq!(said.stdout_text(), "/tmp\n1000\n100\n");
    let said = trial.sh(&["--profile", "permissive", "--user", "root"], "id -u").assert_success();
    assert_eq!(said.stdout_text(), "0\n");
}

#[test]
fn a_mount_shows_what_lies_here_and_read_only_means_it() {
    let Some(trial) = Trial::booting() else { return };
    let folder = work_file(&trial, "data");
    fs::create_dir(&folder).expect("folder");
    fs::write(folder.join("file"), "from the host").expect("write");
    let said = trial.sh(&["-v", "./data:/workspace/data:ro"], "cat data/file; echo x > data/new");
    assert_eq!(said.stdout_text(), "from the host");
    assert!(said.stderr_text().contains("Read-only file system"), "{}", said.stderr_text());
    assert_ne!(said.status.code(), Some(0));
}

#[test]
fn a_name_can_be_used_by_one_live_sandbox_only() {
    let Some(trial) = Trial::booting() else { return };
    let running = trial.start(&[], "echo ready; sleep 60");
    let said = trial.sh(&[], "true").assert_code(125);
    if crate::BY_DAEMON {
        // The daemon knows names of its own.
        assert!(said.stderr_text().contains("hint: "), "{}", said.stderr_text());
    } else {
        insta::assert_snapshot!(trial.neutral(&said.stderr_text()), @r#"
    agentkernel: take the sandbox's name: NAME: a live sandbox has it
    hint: choose another --name, or leave it out
    "#);
    }
    running.signal(rustix::process::Signal::TERM);
    running.finish().assert_code(143);
    trial.sh(&[], "true").assert_success();
}

#[test]
fn the_host_name_that_was_given_is_that_inside_time_after_time() {
    let Some(trial) = Trial::booting() else { return };
    let script = "hostname; cat /etc/hostname; getent hosts \"$(hostname)\"";
    for _ in 0..5 {
        let said = trial.say(&["run", "--hostname", &trial.name, "--", "sh", "-c", script]).assert_success();
        assert_eq!(trial.neutral(&said.stdout_text()), "NAME\nNAME\n127.0.0.1       localhost NAME\n");
    }
}

#[test]
fn a_name_that_was_given_is_no_host_name_and_costs_no_warm_sandbox() {
    let Some(trial) = Trial::booting() else { return };
    let words = ["run", "--timing", "--name", &trial.name, "--", "sh", "-c", "hostname; cat /etc/hostname"];
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let said = trial.say(&words).assert_success();
        let names: Vec<_> = said.stdout_text().lines().map(str::to_owned).collect();
        assert!(names.len() == 2 && names[0] == names[1] && names[0] != trial.name, "{names:?}");
        assert!(seen.insert(names[0].clone()), "{names:?} was there before");
        let way = said.stderr_text();
        assert!(way.contains(if crate::BY_DAEMON { "way: daemon" } else { "way: in-process" }), "{way}");
    }
}
