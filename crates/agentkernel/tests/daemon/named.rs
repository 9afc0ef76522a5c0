//! A daemon that AGENTKERNEL_URL names: it and no other.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use agentkernel_testkit::Finished;
use serde_json::Value;

use crate::support::{Trial, work_file};

/// Where a daemon on TCP is, and its token.
struct Named {
    url: String,
    key: String,
}

impl Named {
    fn nobody(url: &str) -> Self {
        Self { url: url.into(), key: "0123456789abcdef".into() }
    }

    fn say(&self, trial: &Trial, words: &[&str]) -> Finished {
        let mut command = trial.command(words);
        command.env("AGENTKERNEL_URL", &self.url).env("AGENTKERNEL_API_KEY", &self.key);
        Finished::of(&mut command)
    }
}

/// A trial whose daemon listens on TCP, too.
fn on_tcp() -> Option<(Trial, Named)> {
    let mut trial = Trial::alone()?;
    trial.serve(&["--tcp", "127.0.0.1:0"]);
    let log = fs::read_to_string(trial.environment.root().join("daemon.log")).expect("a log");
    let (_, rest) = log.split_once("listening on http://").expect("it says where");
    let (address, _) = rest.split_once(',').expect("it says for whom");
    let tokens = fs::read_to_string(trial.environment.agentkernel_home().join("tokens")).expect("tokens");
    let key = tokens.trim().strip_prefix("default:").expect("a token").to_owned();
    Some((trial, Named { url: format!("http://{address}"), key }))
}

#[test]
fn over_tcp_with_a_token_every_word_works_as_over_the_socket() {
    let Some((trial, named)) = on_tcp() else { return };
    let say = |words: &[&str]| named.say(&trial, words);
    let json = say(&["run", "--format", "json", "--", "echo", "hi"]).assert_success();
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["way"], &json["stdout"]), (&Value::from("daemon"), &Value::from("hi\n")));
    assert!(json["memory_peak_bytes"].is_u64() || !json["backend"].is_null(), "{json}");
    say(&["run", "--", "sh", "-c", "exit 7"]).assert_code(7);
    let name = trial.name.as_str();
    assert_eq!(
        say(&["create", "--name", name, "--hostname", name]).assert_success().stdout_text(),
        format!("{name}\n")
    );
    assert_eq!(say(&["exec", name, "--", "hostname"]).assert_success().stdout_text(), format!("{name}\n"));
    fs::write(work_file(&trial, "file"), "content").expect("write");
    say(&["cp", "file", &format!("{name}:file")]).assert_success();
    assert_eq!(say(&["exec", name, "--", "cat", "file"]).stdout_text(), "content");
    let pid =
        say(&["exec", "-d", name, "--", "sh", "-c", "echo said; exit 3"]).assert_success().stdout_text();
    let heard = say(&["attach", name, pid.trim()]).assert_code(3);
    assert_eq!(heard.stdout_text(), "said\n");
    assert_eq!(say(&["logs", name]).assert_success().stdout_text(), "said\n");
    for words in [&["pause", name][..], &["resume", name], &["stats", name], &["inspect", "--posture", name]]
    {
        say(words).assert_success();
    }
    assert_eq!(say(&["ps", "-q"]).assert_success().stdout_text(), format!("{name}\n"));
    // Who comes by the socket is another owner.
    assert_eq!(trial.say(&["ps", "-q"]).assert_success().stdout_text(), "");
    for words in [&["stop", name][..], &["start", name], &["rm", "-f", name], &["prune"], &["doctor"]] {
        say(words).assert_success();
    }
    assert_eq!(say(&["ps", "-aq"]).assert_success().stdout_text(), "");
}

#[test]
fn a_socket_can_be_named_by_its_path() {
    let Some(trial) = Trial::booting() else { return };
    let socket = trial.environment.agentkernel_home().join("daemon.sock");
    for url in [format!("unix://{}", socket.display()), socket.display().to_string()] {
        let said = Named::nobody(&url).say(&trial, &["run", "--timing", "--", "true"]).assert_success();
        assert!(said.stderr_text().contains("way: daemon"), "{}", said.stderr_text());
    }
}

#[test]
fn a_named_daemon_that_does_not_answer_is_replaced_by_nobody() {
    let Some(trial) = Trial::alone() else { return };
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let nowhere = format!("unix://{}", work_file(&trial, "nowhere.sock").display());
    for url in [format!("http://{free}"), nowhere] {
        let named = Named::nobody(&url);
        for words in [
            &["run", "--", "echo", "ran"][..],
            &["run", "-e", "A=1", "--name", &trial.name, "--", "echo", "ran"],
            &["create"],
            &["exec", "x", "--", "true"],
            &["attach", "x", "1"],
            &["inspect", "x"],
            &["ps"],
        ] {
            let said = named.say(&trial, words).assert_code(125);
            assert_eq!(said.stdout_text(), "", "{words:?}");
            let text = said.stderr_text();
            assert!(text.contains("reach the daemon: ") && text.contains("hint: AGENTKERNEL_URL"), "{text}");
        }
        // What the user types himself, he means.
        named.say(&trial, &["run", "--no-daemon", "--", "true"]).assert_success();
    }
    assert!(!trial.environment.agentkernel_home().join("daemon.lock").exists(), "a daemon was started");
}

#[test]
fn a_named_daemon_that_is_about_to_end_is_replaced_by_nobody() {
    let Some((mut trial, named)) = on_tcp() else { return };
    let running = trial.start(&[], "echo ready; sleep 1; exit 7");
    trial.daemon().signal(rustix::process::Signal::TERM);
    let stopping = crate::support::comes_true(crate::support::DEADLINE, || {
        let said = named.say(&trial, &["run", "--", "true"]);
        said.status.code() == Some(125) && said.stderr_text().contains("the daemon is being stopped")
    });
    assert!(stopping);
    running.finish().assert_code(7);
}

#[test]
fn a_wrong_token_and_a_wrong_url_are_told_apart() {
    let Some((trial, mut named)) = on_tcp() else { return };
    let told = |named: &Named, code: i32, words: &[&str]| {
        let text = named.say(&trial, words).assert_code(code).stderr_text();
        assert!(!text.contains(&named.key) || named.key.is_empty(), "{text}");
        text
    };
    let right = std::mem::replace(&mut named.key, "0123456789abcdef".into());
    for words in [&["run", "--", "true"][..], &["ps"], &["create"], &["exec", "x", "--", "true"]] {
        let text = told(&named, 125, words);
        insta::allow_duplicates!(insta::assert_snapshot!(text, @r"
        agentkernel: let the caller in: the token is missing or wrong
        hint: AGENTKERNEL_API_KEY is what follows the colon in a line of the daemon's file of tokens
        "));
    }
    named.key = format!("default:{right}\nX: y");
    assert!(told(&named, 2, &["run", "--", "true"]).contains("AGENTKERNEL_API_KEY"));
    named.key = String::new();
    assert!(told(&named, 2, &["ps"]).contains("AGENTKERNEL_API_KEY: there is none"));
    for url in
        ["localhost", "https://127.0.0.1:1", "http://192.0.2.1:80", "http://127.0.0.1:1/v1", "unix:relative"]
    {
        let text = told(&Named::nobody(url), 2, &["run", "--", "true"]);
        assert!(text.contains("AGENTKERNEL_URL ") && text.contains("\nhint: "), "{text}");
    }
}

/// Answers every request on a port of its own with these bytes, for as long as the test lasts.
fn imposter(reply: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(reply.as_bytes()));
        }
    });
    address
}

#[test]
fn what_is_no_daemon_is_not_taken_for_one() {
    let trial = Trial::new();
    for reply in ["HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nhtml", "SSH-2.0-OpenSSH\r\n", ""] {
        let named = Named::nobody(&format!("http://{}", imposter(reply)));
        for words in [&["run", "--", "true"][..], &["ps"], &["exec", "x", "--", "true"]] {
            let text = named.say(&trial, words).assert_code(125).stderr_text();
            let hint =
                "hint: AGENTKERNEL_URL names what answers there: look whether it is a daemon's address\n";
            assert!(text.ends_with(hint), "{reply:?}: {text}");
        }
    }
}

#[test]
fn a_daemon_of_another_version_that_does_not_understand_is_told_by_its_version() {
    let trial = Trial::new();
    let reply = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n\
        {\"version\":\"0.0.1\",\"api\":\"v1\",\"instance\":\"x\",\"pid\":1,\"backends\":[]}";
    let named = Named::nobody(&format!("http://{}", imposter(reply)));
    for words in [&["ps"][..], &["run", "--", "true"]] {
        let text = named.say(&trial, words).assert_code(125).stderr_text();
        let said = format!("the daemon is agentkernel 0.0.1, and this is {}", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&said) && text.contains("agentkernel shutdown"), "{text}");
    }
    let doctor = named.say(&trial, &["doctor"]).stdout_text();
    assert!(doctor.contains("yes: agentkernel 0.0.1"), "{doctor}");
}
