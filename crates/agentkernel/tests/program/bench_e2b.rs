//! What speaks E2B's protocol, measured by E2B's own client against a stand-in that runs commands on this host.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agentkernel_testkit::python_package;
use serde_json::Value;

use crate::bench::{find_first_in, kept, row};
use crate::support::Trial;

/// A key of the form that clients check. The stand-in takes any.
const KEY: &str = "e2b_0123456789abcdef0123456789abcdef01234567";

/// A server of the tests' own, which ends with its input.
struct StandIn {
    child: Child,
    address: String,
}

#[expect(clippy::disallowed_methods, reason = "the server is no part of the program")]
impl StandIn {
    /// One that does this wrong: `none` does nothing wrong.
    fn begin(fault: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/tests/e2b_stand_in.py");
        let mut command = Command::new("python3");
        command.arg(program).args(["--fault", fault]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("its output");
        BufReader::new(stdout).read_line(&mut address).expect("its address");
        Self { child, address: address.trim().to_owned() }
    }

    /// The sandboxes that live there.
    fn living(&self) -> Vec<Value> {
        let url = format!("{}/stand-in/living", self.address);
        let script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())";
        let said = Command::new("python3").args(["-c", script, &url]).output().expect("asked").stdout;
        serde_json::from_slice(&said).expect("JSON")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends with its input");
    }
}

/// The folder with the Python that has the client, if it was installed.
fn client() -> Option<PathBuf> {
    python_package(env!("CARGO_TARGET_TMPDIR"), "e2b")
}

/// `bench run PLANS --vs e2b:ADDRESS`, by the client in this folder.
fn bench(trial: &Trial, client: &Path, address: &str, words: &[&str]) -> Command {
    let target = format!("e2b:{address}");
    let flags = ["--backend", "wasm", "--iterations", "2", "--warm-ups", "0", "--vs", &target];
    let mut command = trial.command(&[&["bench", "run"], words, &flags].concat());
    find_first_in(&mut command, client);
    command.env("E2B_API_KEY", KEY);
    command
}

fn said(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

#[test]
fn sandboxes_of_an_e2b_server_are_measured_by_its_own_client_and_none_is_left() {
    let (Some(client), Some(trial)) = (client(), Trial::alone()) else { return };
    let server = StandIn::begin("none");
    let plans = ["startup", "phases", "exec", "stress", "lifecycle", "cpu", "memory"];
    let few = ["--at-once", "2", "--count", "4", "--output", "kept"];
    said(&mut bench(&trial, &client, &server.address, &[&plans[..], &few].concat()), 0);
    let (_, json) = kept(&trial, "kept");
    let target = format!("e2b:{}", server.address);
    for (benchmark, samples) in [(0, 2), (1, 2), (2, 2), (3, 4), (5, 2)] {
        let row = row(&json, benchmark, &target);
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(samples), "{row}");
    }
    for (benchmark, part) in [(1, "boot"), (1, "exec"), (1, "stop"), (4, "create"), (4, "rm")] {
        let p50 = &row(&json, benchmark, &target)["figures"][part]["p50_ns"];
        assert!(p50.as_f64().is_some_and(|ns| ns > 0.0), "{benchmark} {part}: {p50}");
    }
    // The loop's result was right, and its time is its own: that of any other launch here.
    let (theirs, hosts) = (row(&json, 5, &target), row(&json, 5, "host"));
    assert_eq!(theirs["samples"][0]["stdout_sha256"], hosts["samples"][0]["stdout_sha256"]);
    let why = row(&json, 6, &target)["could_not_run"].as_str().expect("a reason");
    assert!(why.contains("on its server's host"), "{why}");
    assert!(!json.to_string().contains(KEY), "the key is in no result");
    assert_eq!(server.living(), [] as [Value; 0]);
}

#[test]
fn a_server_that_lies_or_hangs_is_refused_and_what_it_began_is_killed() {
    let (Some(client), Some(trial)) = (client(), Trial::alone()) else { return };
    for (fault, told) in [("wrong-output", "its output is wrong"), ("hang", "within 3000 ms")] {
        let server = StandIn::begin(fault);
        let words = ["startup", "--timeout", "3s"];
        let said = said(&mut bench(&trial, &client, &server.address, &words), 3);
        assert!(said.contains("refused: e2b:http://127.0.0.1") && said.contains(told), "{fault}: {said}");
        assert_eq!(server.living(), [] as [Value; 0], "{fault}");
    }
}

#[test]
fn a_server_that_declines_or_is_not_there_and_a_client_that_is_missing_are_rows_with_a_reason() {
    let (Some(client), Some(trial)) = (client(), Trial::alone()) else { return };
    let nowhere = PathBuf::from("/nowhere");
    let server = StandIn::begin("no-room");
    let startup = |folder: &str, client: &Path, address: &str| {
        said(&mut bench(&trial, client, address, &["startup", "--output", folder]), 0);
        let (_, json) = kept(&trial, folder);
        row(&json, 0, &format!("e2b:{address}"))["could_not_run"].as_str().expect("a reason").to_owned()
    };
    let declined = startup("declined", &client, &server.address);
    assert!(declined.contains("it declined: ") && declined.contains("no room"), "{declined}");
    let gone = startup("gone", &client, "http://127.0.0.1:9");
    assert!(gone.contains("it declined: "), "{gone}");
    let missing = startup("missing", &nowhere, &server.address);
    assert!(missing.contains("pip install e2b"), "{missing}");
}

#[test]
fn an_address_that_is_none_is_refused_before_anything_is_measured() {
    let said =
        Trial::new().say(&["bench", "run", "startup", "--vs", "e2b:ftp://x"]).assert_code(2).stderr_text();
    assert!(said.contains("e2b:ftp://x") && said.contains("e2b:http://127.0.0.1:3000"), "{said}");
}
