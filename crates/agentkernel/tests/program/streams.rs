//! stdin, stdout and stderr: byte for byte, apart from each other, and with an end.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agentkernel_testkit::{Finished, noise};

use crate::support::{Trial, code};

#[test]
fn binary_data_passes_through_in_both_directions() {
    let Some(trial) = Trial::booting() else { return };
    let bytes = noise(3_000_001);
    let said = trial.feed(&["run", "-i", "--", "cat"], &bytes).assert_success();
    assert!(said.stdout == bytes, "{} bytes came back", said.stdout.len());
    assert_eq!(said.stderr_text(), "");
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.sh(&[], "echo out; echo err >&2; echo out again").assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), ("out\nout again\n".into(), "err\n".into()));
}

#[test]
fn without_i_the_command_has_no_input() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.feed(&["run", "--", "cat"], b"not for the command").assert_success();
    assert_eq!(said.stdout_text(), "");
}

#[test]
fn a_command_that_does_not_read_its_input_ends_all_the_same() {
    let Some(trial) = Trial::booting() else { return };
    let began = Instant::now();
    trial.feed(&["run", "-i", "--", "true"], &noise(5_000_000)).assert_success();
    // A stdin that says nothing and does not end.
    let (_writer, reader) = stdin_pipe();
    let mut command = trial.command(&["run", "-i", "--", "true"]);
    Finished::of(command.stdin(reader)).assert_success();
    assert!(began.elapsed() < Duration::from_secs(30));
}

fn stdin_pipe() -> (std::io::PipeWriter, Stdio) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    (writer, Stdio::from(reader))
}

#[test]
fn output_comes_while_the_command_runs() {
    let Some(trial) = Trial::booting() else { return };
    // `start` returns only once the line has come out of a command that goes on.
    let running = trial.start(&[], "echo ready; sleep 60");
    running.signal(rustix::process::Signal::INT);
    running.finish();
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let Some(trial) = Trial::booting() else { return };
    let mut running = trial.start(&[], "echo ready; while echo more; do :; done; sleep 60");
    running.close_stdout();
    let said = running.finish();
    assert_eq!((code(&said), said.stderr_text().as_str()), (128 + 13, ""));
    trial.assert_nothing_left();
}

#[test]
fn a_full_disk_is_told() {
    let Some(trial) = Trial::booting() else { return };
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let said = Finished::of(trial.sh_command(&[], "echo x; sleep 60").stdout(full)).assert_code(125);
    insta::assert_snapshot!(said.stderr_text(), @r#"
    agentkernel: pass the command's output on: stdout: No space left on device (os error 28)
    hint: the command was killed
    "#);
    trial.assert_nothing_left();
}

#[test]
fn a_stdin_that_cannot_be_read_is_told_and_is_empty() {
    let Some(trial) = Trial::booting() else { return };
    let folder = File::open(trial.environment.work()).expect("a folder");
    let said = Finished::of(trial.sh_command(&["-i"], "cat; echo end").stdin(folder)).assert_success();
    assert_eq!(said.stdout_text(), "end\n");
    insta::assert_snapshot!(said.stderr_text(), @"agentkernel: read stdin: Is a directory (os error 21)");
}
