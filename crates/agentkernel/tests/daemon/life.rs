//! The life of a sandbox, verb by verb.

use agentkernel_testkit::Finished;
use serde_json::Value;

use crate::support::{DEADLINE, Trial, comes_true, work_file};
use crate::terminal::Terminal;

/// A trial with a sandbox of its name.
fn with_sandbox(flags: &[&str]) -> Option<Trial> {
    let trial = Trial::booting()?;
    let words = [&["create", "--name", &trial.name], flags].concat();
    assert_eq!(trial.say(&words).assert_success().stdout_text(), format!("{}\n", trial.name));
    Some(trial)
}

fn list(trial: &Trial) -> Vec<Value> {
    let said = trial.say(&["ps", "-a", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(json["schema"], 1);
    json["sandboxes"].as_array().expect("a list").clone()
}

fn the_one(trial: &Trial) -> Value {
    list(trial).into_iter().find(|sandbox| sandbox["name"] == trial.name.as_str()).expect("it is listed")
}

#[test]
fn commands_share_a_sandbox_and_each_has_its_own_exit_code() {
    let Some(trial) = with_sandbox(&["-e", "GIVEN=a b", "--label", "task=42"]) else { return };
    let exec = |script: &str| trial.say(&["exec", &trial.name, "--", "sh", "-c", script]);
    let said = exec("echo \"$GIVEN\" >file; echo out; echo err >&2; exit 7").assert_code(7);
    assert_eq!((said.stdout_text(), said.stderr_text()), ("out\n".into(), "err\n".into()));
    assert_eq!(exec("cat file").assert_success().stdout_text(), "a b\n");
    exec("kill -KILL $$").assert_code(128 + 9);
    trial.say(&["exec", &trial.name, "--", "no-such-program"]).assert_code(127);
    let late = trial.say(&["exec", "--timeout", "200ms", &trial.name, "--", "sleep", "60"]).assert_code(124);
    assert!(late.stderr_text().contains("timeout"), "{}", late.stderr_text());
    let said = trial.say(&["exec", "-w", "/tmp", "-e", "X=1", &trial.name, "--", "sh", "-c", "pwd; echo $X"]);
    assert_eq!(said.assert_success().stdout_text(), "/tmp\n1\n");
    assert_eq!(the_one(&trial)["labels"]["task"], "42");
    trial.say(&["rm", "-f", &trial.name]).assert_success();
    trial.assert_nothing_left();
}

#[test]
fn exec_passes_stdin_on_and_ctrl_c_too() {
    let Some(trial) = with_sandbox(&[]) else { return };
    let said = trial.feed(&["exec", "-i", &trial.name, "--", "cat"], b"\xff\x00 bytes").assert_success();
    assert_eq!(said.stdout, b"\xff\x00 bytes");
    let mut command = trial.command(&["exec", "-it", &trial.name, "--", "sh", "-c"]);
    command.arg("stty size; read -r line; echo \"<$line>\"; exec sleep 60");
    let mut terminal = Terminal::of(command);
    terminal.wait_for("30 100\r\n");
    terminal.type_in("words\r");
    terminal.wait_for("<words>\r\n");
    terminal.type_in("\x03");
    terminal.assert_ends_with(130);
    trial.say(&["exec", &trial.name, "--", "true"]).assert_success();
}

#[test]
fn time_stands_still_and_goes_on() {
    let Some(trial) = with_sandbox(&[]) else { return };
    trial.say(&["pause", &trial.name]).assert_success();
    assert_eq!(the_one(&trial)["state"], "paused");
    trial.say(&["resume", &trial.name]).assert_success();
    assert_eq!(the_one(&trial)["state"], "running");
    trial.say(&["exec", &trial.name, "--", "true"]).assert_success();
}

#[test]
fn what_has_ended_is_remembered_with_its_cause_until_it_is_removed() {
    let Some(trial) = with_sandbox(&[]) else { return };
    let lives = trial.say(&["rm", &trial.name]).assert_code(125);
    insta::assert_snapshot!(trial.neutral(&lives.stderr_text()), @r#"
    agentkernel: remove the sandbox: NAME: it lives
    hint: end it first with agentkernel stop, or say rm -f
    "#);
    // Twice is no error.
    for _ in 0..2 {
        trial.say(&["stop", &trial.name]).assert_success();
    }
    assert_eq!(trial.say(&["ps", "-q"]).stdout_text(), "");
    let all = trial.say(&["ls", "-a"]).assert_success().stdout_text();
    assert!(all.contains("CAUSE") && all.contains("killed"), "{all}");
    let gone = trial.say(&["exec", &trial.name, "--", "true"]).assert_code(125);
    insta::assert_snapshot!(trial.neutral(&gone.stderr_text()), @r"
    agentkernel: use the sandbox: NAME: it has ended: killed, it was stopped
    hint: agentkernel start NAME makes it once more, without its files
    ");
    trial.say(&["start", &trial.name]).assert_success();
    trial.say(&["exec", &trial.name, "--", "true"]).assert_success();
    trial.say(&["stop", &trial.name]).assert_success();
    trial.say(&["rm", &trial.name]).assert_success();
    assert!(list(&trial).is_empty());
}

#[test]
fn a_time_that_is_up_is_a_cause() {
    let Some(trial) = with_sandbox(&["--timeout", "500ms"]) else { return };
    assert!(comes_true(DEADLINE, || the_one(&trial)["state"] == "ended"));
    assert_eq!(the_one(&trial)["cause"], "timeout");
    let idle = format!("{}-idle", trial.name);
    trial.say(&["create", "--name", &idle, "--idle-timeout", "300ms"]).assert_success();
    let is_idle = || list(&trial).iter().any(|one| one["name"] == idle.as_str() && one["cause"] == "idle");
    assert!(comes_true(DEADLINE, is_idle), "{:?}", list(&trial));
    trial.say(&["prune"]).assert_success();
    assert!(list(&trial).is_empty());
}

#[test]
fn several_are_removed_whatever_became_of_the_first() {
    let Some(trial) = with_sandbox(&[]) else { return };
    let second = format!("{}-2", trial.name);
    trial.say(&["create", "--name", &second]).assert_success();
    let said = trial.say(&["stop", "no-such-sandbox", &trial.name]).assert_code(125);
    assert!(said.stderr_text().contains("no-such-sandbox"), "{}", said.stderr_text());
    assert_eq!(trial.say(&["ps", "-q"]).stdout_text(), format!("{second}\n"));
    trial.say(&["rm", "-f", "no-such-sandbox"]).assert_success();
    trial.say(&["rm", "-f", "--all"]).assert_success();
    assert!(list(&trial).is_empty());
}

#[test]
fn an_unknown_name_is_told_the_nearest_one_and_is_no_usage_error() {
    let Some(trial) = with_sandbox(&[]) else { return };
    let wrong = format!("{}x", trial.name);
    for words in
        [&["exec", &wrong, "--", "true"][..], &["stop", &wrong], &["logs", &wrong], &["stats", &wrong]]
    {
        let said = trial.say(words).assert_code(125);
        let expected =
            "agentkernel: find the sandbox: NAMEx: you have none of that name\nhint: did you mean 'NAME'?\n";
        assert_eq!(trial.neutral(&said.stderr_text()), expected);
    }
    trial.say(&["create", "--name", "Not a name"]).assert_code(2);
    trial.say(&["create", "--label", "x"]).assert_code(2);
}

#[test]
fn its_facts_use_and_posture_are_told() {
    let Some(trial) = with_sandbox(&["--memory", "128M", "--label", "a=b"]) else { return };
    let json = |words: &[&str]| -> Value {
        let said = trial.say(&[words, &["--format", "json"]].concat()).assert_success();
        serde_json::from_slice(&said.stdout).expect("JSON")
    };
    let facts = json(&["inspect", &trial.name, "--posture"]);
    assert_eq!(facts["sandbox"]["limits"]["memory"], "128M");
    assert_eq!(
        (&facts["sandbox"]["labels"]["a"], &facts["posture"]["holds"]),
        (&Value::from("b"), &Value::from(true))
    );
    let stats = json(&["stats", &trial.name]);
    assert_eq!(stats["sandboxes"][0]["limits"]["memory"], "128M");
    let text = trial.say(&["stats"]).assert_success().stdout_text();
    assert!(text.contains(&trial.name) && text.contains("MEMORY"), "{text}");
    trial.say(&["stop", &trial.name]).assert_success();
    let text = trial.say(&["inspect", &trial.name]).assert_success().stdout_text();
    assert!(text.contains("ended") && text.contains("killed"), "{text}");
}

#[test]
fn events_tell_what_happens_as_it_happens() {
    let Some(trial) = Trial::booting() else { return };
    let log = work_file(&trial, "events");
    let mut command = trial.command(&["events", "--format", "json"]);
    command.stdout(std::fs::File::create(&log).expect("file"));
    let mut child = command.spawn().expect("start");
    let read = || std::fs::read_to_string(&log).expect("readable");
    // Whoever listens from when on, nobody knows: something happens until it is heard.
    let heard = comes_true(DEADLINE, || {
        trial.say(&["run", "--", "true"]).assert_success();
        read().contains("\"cause\":\"exited\"")
    });
    child.kill().expect("it lives");
    child.wait().expect("reaped");
    assert!(heard, "{}", read());
    let first = read();
    let event: Value = serde_json::from_str(first.lines().next().expect("a line")).expect("JSON");
    assert!(event["sequence"].is_u64() && event["state"].is_string(), "{event}");
}

#[test]
fn a_sandbox_whose_name_could_not_be_printed_is_told_all_the_same() {
    let Some(trial) = Trial::booting() else { return };
    let full = std::fs::File::create("/dev/full").expect("/dev/full");
    let said = Finished::of(trial.command(&["create", "--name", &trial.name]).stdout(full)).assert_code(125);
    let expected = "agentkernel: write to stdout: No space left on device (os error 28)\nhint: the sandbox was made: NAME\n";
    assert_eq!(trial.neutral(&said.stderr_text()), expected);
    trial.say(&["rm", "-f", &trial.name]).assert_success();
}
