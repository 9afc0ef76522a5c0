//! Wrong words: exit code 2, and the nearest right one.

use agentkernel_testkit::Finished;

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
    insta::assert_snapshot!(run_complaint(&["--backend", "ocl"]), @"agentkernel: invalid value 'ocl' for '--backend <BACKEND>': unknown backend 'ocl'; did you mean 'oci'? (one of: auto, apple, firecracker, qemu, hyperlight, gvisor, oci, runc, crun, docker, podman, wasm)");
    insta::assert_snapshot!(run_complaint(&["--profile", "permisive"]), @"agentkernel: invalid value 'permisive' for '--profile <PROFILE>': unknown profile 'permisive'; did you mean 'permissive'? (one of: restrictive, moderate, permissive)");
    insta::assert_snapshot!(run_complaint(&["--image", "hots"]), @"agentkernel: invalid value 'hots' for '--image <IMAGE>': unknown image 'hots'; did you mean 'host'? (one of: host, or an engine's image with its registry or tag; a folder is given with rootfs)");
    insta::assert_snapshot!(complaint(&["eval", "--lang", "pyhton", "1"]), @"agentkernel: invalid value 'pyhton' for '--lang <LANGUAGE>': unknown language 'pyhton'; did you mean 'python'? (one of: js, python)");
    insta::assert_snapshot!(run_complaint(&["--format", "jsn"]), @"agentkernel: invalid value 'jsn' for '--format <FORMAT>'");
}

#[test]
fn a_value_that_cannot_be_read_is_told_how_to_write_it() {
    insta::assert_snapshot!(run_complaint(&["--memory", "lots"]), @"agentkernel: invalid value 'lots' for '--memory <SIZE>': 'lots' is not a size; write a number and K, M, G or T, for example 512M");
    insta::assert_snapshot!(run_complaint(&["--cpus", "0"]), @"agentkernel: invalid value '0' for '--cpus <NUMBER>': '0' is not a number of CPUs; write for example 0.5, 1 or 2.25 (at least 0.01)");
    insta::assert_snapshot!(run_complaint(&["--pids", "0"]), @"agentkernel: invalid value '0' for '--pids <NUMBER>': '0' is not a number of processes; write for example 256, or unlimited");
    insta::assert_snapshot!(run_complaint(&["--disk", "unlimited"]), @"agentkernel: invalid value 'unlimited' for '--disk <SIZE>': 'unlimited' is not a size; write a number and K, M, G or T, for example 512M");
    insta::assert_snapshot!(run_complaint(&["--timeout", "soon"]), @"agentkernel: invalid value 'soon' for '--timeout <DURATION>': 'soon' is not a duration; write a number and ms, s, m or h, for example 30s");
    insta::assert_snapshot!(run_complaint(&["--user", "alice"]), @"agentkernel: invalid value 'alice' for '--user <UID[:GID]|root>': 'alice' is not a user; write UID, UID:GID or root (ids 0 to 65535)");
    insta::assert_snapshot!(run_complaint(&["--name", "../evil"]), @r#"agentkernel: invalid value '../evil' for '--name <NAME>': "../evil" is not a sandbox name; use 1 to 63 of a-z, 0-9 and '-', not beginning with '-'"#);
}

#[test]
fn a_flag_that_does_not_exist_is_no_command() {
    insta::assert_snapshot!(run_complaint(&["--memroy", "1G"]), @"agentkernel: unexpected argument '--memroy' found");
    insta::assert_snapshot!(complaint(&["run"]), @"agentkernel: the following required arguments were not provided:");
    insta::assert_snapshot!(complaint(&["run", "--", ""]), @"agentkernel: read the command line: CMD: the command's name is empty");
    insta::assert_snapshot!(complaint(&["rum"]), @"agentkernel: unrecognized subcommand 'rum'");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_booted() {
    insta::assert_snapshot!(run_complaint(&["-t"]), @"agentkernel: read the command line: -t: standard input is not a terminal");
    insta::assert_snapshot!(run_complaint(&["-w", "src"]), @"agentkernel: read the command line: -w src: it is not an absolute path in the sandbox");
    insta::assert_snapshot!(run_complaint(&["-e", "=x"]), @"agentkernel: read the command line: -e =x: the variable has no name");
    insta::assert_snapshot!(run_complaint(&["--user", "root"]), @"agentkernel: describe the sandbox: --user 0:0: root is refused in this profile");
    insta::assert_snapshot!(run_complaint(&["--rootfs", "no-such-folder"]), @"agentkernel: read the command line: --rootfs ROOT/work/no-such-folder: No such file or directory (os error 2)");
    insta::assert_snapshot!(run_complaint(&["--rootfs", "/", "--image", "host"]), @"agentkernel: the argument '--rootfs <DIR>' cannot be used with '--image <IMAGE>'");
}

#[test]
fn a_mount_is_checked_when_it_is_typed() {
    insta::assert_snapshot!(run_complaint(&["-v", "no-such-file:/workspace/x"]), @"agentkernel: read the command line: -v no-such-file:/workspace/x: ROOT/work/no-such-file: No such file or directory (os error 2)");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp"]), @"agentkernel: read the command line: -v /tmp: it is not a mount; write SRC:DST or SRC:DST:ro");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:/mnt:rx"]), @"agentkernel: read the command line: -v /tmp:/mnt:rx: 'rx' is not a mount option; use ro or rw");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:/etc"]), @"agentkernel: read the command line: -v /tmp:/etc: '/etc' belongs to the sandbox itself (/etc); choose a place such as /workspace/… or /mnt");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:mnt"]), @"agentkernel: read the command line: -v /tmp:mnt: the place in the sandbox 'mnt' is not an absolute path");
    insta::assert_snapshot!(run_complaint(&["-v", "/tmp:/mnt", "-v", "/var:/mnt"]), @"agentkernel: describe the sandbox: -v /mnt: two mounts have the same place in the sandbox");
}

#[test]
fn the_environment_is_checked_like_flags() {
    let trial = Trial::new();
    let with = |name: &str, value: &str| {
        let mut command = trial.command(&["run", "--", "true"]);
        agentkernel_testkit::Finished::of(command.env(name, value)).assert_code(2).stderr_text()
    };
    insta::assert_snapshot!(with("AGENTKERNEL_BACKEND", "dokcer"), @"agentkernel: read the configuration: AGENTKERNEL_BACKEND: unknown backend 'dokcer'; did you mean 'docker'? (one of: auto, apple, firecracker, qemu, hyperlight, gvisor, oci, runc, crun, docker, podman, wasm)");
    insta::assert_snapshot!(with("AGENTKERNEL_HOME", "relative/folder"), @"agentkernel: read the environment: AGENTKERNEL_HOME: 'relative/folder' is not an absolute path");
}

#[test]
fn the_zygote_is_for_programs() {
    insta::assert_snapshot!(complaint(&["zygote"]), @"agentkernel: serve as a zygote: stdin: Socket operation on non-socket (os error 88)");
}

#[test]
fn letters_that_have_changed_places_find_their_subcommand() {
    let trial = Trial::new();
    let said = trial.say(&["rnu", "--", "true"]).assert_code(2);
    insta::assert_snapshot!(said.stderr_text(), @r"
    agentkernel: unrecognized subcommand 'rnu'

    Usage: agentkernel <COMMAND>
    hint: did you mean 'run'?
    ");
    let said = trial.say(&["xyzzy"]).assert_code(2);
    assert!(said.stderr_text().ends_with("hint: --help says every word and its meaning\n"), "{said:?}");
}

#[test]
fn a_value_of_the_daemons_words_that_cannot_be_read_is_told_how_to_write_it() {
    insta::assert_snapshot!(complaint(&["attach", "web", "x"]), @"agentkernel: invalid value 'x' for '<PID>': 'x' is not a PID; write the number that exec -d printed");
    insta::assert_snapshot!(complaint(&["serve", "--tcp", "7777"]), @"agentkernel: invalid value '7777' for '--tcp <ADDR:PORT>': '7777' is not ADDR:PORT; write for example 127.0.0.1:7777");
    insta::assert_snapshot!(complaint(&["serve", "--sandboxes", "0"]), @"agentkernel: invalid value '0' for '--sandboxes <NUMBER>': '0' is not a number of sandboxes; the least is 1");
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let trial = Trial::new();
    for words in [&["--version"][..], &["--help"], &["run", "-h"], &["completion", "bash"]] {
        let full = std::fs::File::create("/dev/full").expect("/dev/full");
        let said = Finished::of(trial.command(words).stdout(full)).assert_code(125);
        assert!(said.stderr_text().contains("write to stdout: No space left"), "{said:?}");
    }
}
