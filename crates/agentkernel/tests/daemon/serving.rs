//! The daemon's start and end.

use std::fs;
use std::time::{Duration, Instant};

use agentkernel_testkit::Finished;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Trial, comes_true};

/// PID of the daemon that was started in the background.
fn background_pid(trial: &Trial) -> Pid {
    let text = fs::read_to_string(trial.environment.agentkernel_home().join("daemon.lock")).expect("a lock");
    Pid::from_raw(text.trim().parse().expect("a PID")).expect("not zero")
}

/// Tells it to end, and waits until it has.
fn end(pid: Pid) {
    kill_process(pid, Signal::TERM).expect("it lives");
    let gone = comes_true(Duration::from_secs(30), || {
        // Whoever reaps it may take his time.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        !stat.is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
    });
    assert!(gone, "the daemon lives on");
}

#[test]
fn serve_detach_returns_when_it_can_be_reached_and_a_second_one_is_refused() {
    let Some(trial) = Trial::alone() else { return };
    let said = trial.say(&["serve", "--detach"]).assert_success();
    assert_eq!(said.stdout_text(), "");
    assert!(said.stderr_text().contains("/daemon.sock\n"), "{}", said.stderr_text());
    let json = trial.say(&["run", "--format", "json", "--", "true"]).assert_success();
    assert!(json.stdout_text().contains("\"way\":\"daemon\""));
    for words in [&["serve", "--detach"][..], &["serve"]] {
        let refused = trial.say(words).assert_code(125);
        assert!(refused.stderr_text().contains("already"), "{}", refused.stderr_text());
        assert!(refused.stderr_text().contains("\nhint: "), "{}", refused.stderr_text());
    }
    end(background_pid(&trial));
    assert!(!trial.environment.agentkernel_home().join("daemon.sock").exists());
    trial.say(&["run", "--", "true"]).assert_success();
}

#[test]
fn a_daemon_that_cannot_start_says_why_at_once() {
    let Some(trial) = Trial::alone() else { return };
    let said = trial.say(&["serve", "--detach", "--tcp", "192.0.2.1:80"]).assert_code(125);
    assert!(said.stderr_text().contains("loopback"), "{}", said.stderr_text());
    let said = trial.say(&["serve", "--pool", "3..2"]).assert_code(2);
    assert!(said.stderr_text().contains("LOW..HIGH"), "{}", said.stderr_text());
}

#[test]
fn create_starts_a_daemon_by_itself_and_prints_the_name_alone() {
    let Some(trial) = Trial::alone() else { return };
    let refused = trial.say(&["ps"]).assert_code(125);
    insta::assert_snapshot!(trial.neutral(&refused.stderr_text()), @r#"
    agentkernel: reach the daemon: ROOT/agentkernel/daemon.sock: no daemon is running
    hint: start one with: agentkernel serve --detach
    "#);
    let said = trial.say(&["create", "--name", &trial.name]).assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), (format!("{}\n", trial.name), String::new()));
    trial.say(&["exec", &trial.name, "--", "true"]).assert_success();
    // It lives on without whoever made it, and ends with the daemon.
    end(background_pid(&trial));
    let records = fs::read_dir(trial.environment.agentkernel_home().join("run/sandboxes")).expect("a folder");
    assert_eq!(records.count(), 0);
}

#[test]
fn two_creates_at_once_share_the_daemon_that_one_of_them_starts() {
    let Some(trial) = Trial::alone() else { return };
    let children: Vec<_> = (0..4).map(|_| trial.command(&["create"]).spawn().expect("start")).collect();
    for child in children {
        let said = Finished::wait("create".into(), child, crate::support::DEADLINE).assert_success();
        assert!(said.stdout_text().starts_with("ak-"), "{}", said.stdout_text());
    }
    assert_eq!(trial.say(&["ps", "-q"]).stdout_text().lines().count(), 4);
    end(background_pid(&trial));
}

#[test]
fn a_daemon_that_ends_lets_runs_end_first_and_the_next_goes_in_process() {
    let Some(mut trial) = Trial::booting() else { return };
    let running = trial.start(&[], "echo ready; sleep 1; exit 7");
    trial.daemon().signal(Signal::TERM);
    // It answers still, and takes nothing new.
    let said = trial.say(&["run", "--timing", "--", "echo", "hi"]).assert_success();
    assert_eq!(said.stdout_text(), "hi\n");
    assert!(said.stderr_text().contains("way: in-process, cold"), "{}", said.stderr_text());
    running.finish().assert_code(7);
    assert_eq!(trial.daemon().wait(), Some(0));
}

#[test]
fn a_second_signal_kills_what_runs() {
    let Some(mut trial) = Trial::booting() else { return };
    let running = trial.start(&[], "trap '' TERM; echo ready; sleep 60");
    let began = Instant::now();
    trial.daemon().signal(Signal::TERM);
    comes_true(Duration::from_millis(200), || false);
    trial.daemon().signal(Signal::TERM);
    let said = running.finish().assert_code(125);
    assert!(said.stderr_text().contains("shutdown"), "{}", said.stderr_text());
    assert_eq!(trial.daemon().wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn after_a_crash_of_the_daemon_a_run_goes_in_process() {
    let Some(mut trial) = Trial::booting() else { return };
    trial.daemon().crash();
    let said = trial.say(&["run", "--timing", "--", "true"]).assert_success();
    assert!(said.stderr_text().contains("way: in-process"), "{}", said.stderr_text());
    // The next daemon cleans up behind the first.
    trial.serve(&[]);
    trial.say(&["run", "--", "true"]).assert_success();
}

#[test]
fn a_socket_of_nobody_is_no_daemon() {
    let Some(trial) = Trial::alone() else { return };
    let socket = trial.environment.agentkernel_home().join("daemon.sock");
    fs::write(&socket, "not a socket").expect("write");
    trial.say(&["run", "--", "true"]).assert_success();
    fs::remove_file(&socket).expect("remove");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bind"));
    trial.say(&["run", "--", "true"]).assert_success();
}

/// Files of the store.
fn store(trial: &Trial) -> Vec<String> {
    let names = fs::read_dir(trial.environment.agentkernel_home()).expect("a folder").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("daemon.db")).collect()
}

#[test]
fn shutdown_returns_when_nothing_of_the_daemon_is_left_but_its_store() {
    let Some(mut trial) = Trial::alone() else { return };
    let refused = trial.say(&["shutdown"]).assert_code(125);
    assert!(refused.stderr_text().contains("no daemon is running"), "{}", refused.stderr_text());
    trial.serve(&["--pool", "1..1"]);
    trial.say(&["create"]).assert_success();
    let running = trial.start(&[], "echo ready; sleep 1; exit 7");
    let said = trial.say(&["shutdown"]).assert_success();
    assert_eq!(said.stdout_text(), "");
    assert!(said.stderr_text().ends_with("agentkernel: the daemon has ended\n"), "{}", said.stderr_text());
    assert!(trial.daemon().has_ended());
    assert_eq!((trial.daemon().records().len(), store(&trial)), (0, vec!["daemon.db".to_owned()]));
    running.finish().assert_code(7);
}

#[test]
fn shutdown_can_kill_what_runs() {
    let Some(mut trial) = Trial::booting() else { return };
    let running = trial.start(&[], "trap '' TERM; echo ready; sleep 1000");
    // The first one waits, and says for what.
    let patient = trial.command(&["shutdown"]).spawn().expect("start");
    comes_true(Duration::from_millis(1500), || false);
    trial.say(&["shutdown", "--kill"]).assert_success();
    let said = Finished::wait("shutdown".into(), patient, crate::support::DEADLINE).assert_success();
    insta::assert_snapshot!(said.stderr_text(), @r"
    agentkernel: waiting for runs and commands under way; agentkernel shutdown --kill does not
    agentkernel: the daemon has ended
    ");
    assert!(running.finish().assert_code(125).stderr_text().contains("shutdown"));
    assert_eq!(trial.daemon().wait(), Some(0));
}

#[test]
fn a_folder_that_will_not_do_is_told_with_the_way_out() {
    let trial = Trial::new();
    let file = trial.environment.root().join("file");
    fs::write(&file, "").expect("write");
    for words in [&["create"][..], &["serve"], &["serve", "--detach"]] {
        let said = Finished::of(trial.command(words).env("AGENTKERNEL_HOME", &file)).assert_code(125);
        let text = said.stderr_text();
        assert!(
            text.contains("/file: ") && text.contains("set AGENTKERNEL_HOME to a folder of your own"),
            "{text}"
        );
    }
}

#[test]
fn the_folder_of_another_user_is_told_as_that() {
    let Some(mut trial) = Trial::alone() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    trial.serve(&[]);
    let other = agentkernel_testkit::TestEnvironment::for_ordinary_user();
    let program = other.lend(std::path::Path::new(crate::support::PROGRAM));
    // Whoever may look into the temporary folder still may not into the daemon's.
    let root = trial.environment.root();
    fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
    let mut command = other.command(program);
    command.arg("ps").env("AGENTKERNEL_HOME", trial.environment.agentkernel_home());
    let said = Finished::of(&mut command).assert_code(125);
    insta::assert_snapshot!(trial.neutral(&said.stderr_text()), @r"
    agentkernel: reach the daemon: ROOT/agentkernel/daemon.sock: it is another user's
    hint: set AGENTKERNEL_HOME to a folder of your own
    ");
}

#[test]
fn serve_detach_says_where_on_tcp_and_for_whom() {
    let Some(trial) = Trial::alone() else { return };
    let said = trial.say(&["serve", "--detach", "--tcp", "127.0.0.1:0"]).assert_success().stderr_text();
    let (_, tcp) = said.split_once("agentkernel: listening on http://127.0.0.1:").expect("a line of its own");
    let (port, rest) = tcp.split_once(", for the tokens in ").expect("two parts");
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{said}");
    assert!(std::path::Path::new(rest.trim_end()).is_file(), "{said}");
    trial.say(&["shutdown"]).assert_success();
}
