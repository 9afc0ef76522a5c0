//! Spans for a collector that the environment names.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentkernel_testkit::Finished;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{DEADLINE, PROGRAM, Trial, comes_true};

/// Keeps all that it hears as one text.
fn collector() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (heard, ears) = (Arc::new(Mutex::new(String::new())), listener);
    let text = heard.clone();
    std::thread::spawn(move || {
        for stream in ears.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
            let mut bytes = Vec::new();
            drop(stream.read_to_end(&mut bytes)); // until it waits for the reply
            text.lock().expect("whole").push_str(&String::from_utf8_lossy(&bytes));
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"));
        }
    });
    (format!("http://{address}"), heard)
}

#[test]
fn a_daemon_sends_its_spans_where_the_environment_says() {
    let Some(trial) = Trial::alone() else { return };
    let (address, heard) = collector();
    let mut command = trial.environment.command(PROGRAM);
    command.arg("serve").env("OTEL_EXPORTER_OTLP_ENDPOINT", address).stdout(Stdio::null());
    let daemon = command.spawn().expect("start");
    let pid = Pid::from_child(&daemon);
    let socket = trial.environment.agentkernel_home().join("daemon.sock");
    assert!(comes_true(DEADLINE, || std::os::unix::net::UnixStream::connect(&socket).is_ok()), "no daemon");
    trial.say(&["run", "--", "true"]).assert_success();
    // The last ones go out at its end.
    kill_process(pid, Signal::TERM).expect("it lives");
    Finished::wait("serve".into(), daemon, DEADLINE).assert_success();
    let heard = heard.lock().expect("whole").clone();
    for word in ["POST /v1/traces", "\"agentkernel\"", "\"/v1/runs/stream\"", "\"exec_ns\"", "\"boot_ns\""] {
        assert!(heard.contains(word), "{word}: {heard}");
    }
}

#[test]
fn a_collector_that_cannot_be_is_refused_when_the_daemon_starts() {
    let Some(trial) = Trial::alone() else { return };
    let mut command = trial.environment.command(PROGRAM);
    command.arg("serve").env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318");
    let said = Finished::of(&mut command).assert_code(2);
    assert!(said.stderr_text().contains("http://HOST:PORT"), "{}", said.stderr_text());
}
