//! `--unix-socket`: one socket of the host in the sandbox.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::support::Trial;

/// Asks with its first argument, and prints the answer.
pub const ASK: &str = "import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect('/run/agentkernel/service')
client.sendall(sys.argv[1].encode())
client.shutdown(socket.SHUT_WR)
while chunk := client.recv(100):
    print(chunk.decode(), end='')
";

/// A service of the host that hears to the end, and says it back in capitals. Ends with the test's process.
pub fn shouting(trial: &Trial) -> PathBuf {
    let path = trial.environment.work().join("service.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut heard = String::new();
            client.read_to_string(&mut heard).expect("text");
            client.write_all(heard.to_uppercase().as_bytes()).expect("said");
        }
    });
    path
}

#[test]
fn a_run_asks_a_service_of_the_host() {
    let Some(trial) = Trial::booting() else { return };
    shouting(&trial);
    // A path of the host may be relative.
    let words = ["run", "--unix-socket", "service.sock:service", "--", "python3", "-c", ASK, "is it there?"];
    let said = trial.say(&words).assert_success();
    assert_eq!((said.stdout_text().as_str(), said.stderr_text().as_str()), ("IS IT THERE?", ""));
    // Whoever does not ask for it does not have it.
    let said = trial.say(&["run", "--", "python3", "-c", ASK, "and now?"]).assert_code(1);
    assert!(said.stderr_text().contains("FileNotFoundError"), "{}", said.stderr_text());
    trial.assert_nothing_left();
}

#[test]
fn what_is_no_socket_is_refused_as_it_is_typed() {
    let trial = Trial::new();
    shouting(&trial);
    std::fs::write(trial.environment.work().join("file"), "").expect("write");
    let complaint = |word: &str| {
        let said = trial.say(&["run", "--unix-socket", word, "--", "true"]).assert_code(2);
        trial.neutral(said.stderr_text().lines().next().unwrap_or_default())
    };
    insta::assert_snapshot!(complaint("service.sock"), @"agentkernel: read the command line: --unix-socket service.sock: it is not a socket and a name; write HOST_PATH:NAME");
    insta::assert_snapshot!(complaint(":x"), @"agentkernel: read the command line: --unix-socket :x: it is not a socket and a name; write HOST_PATH:NAME");
    insta::assert_snapshot!(complaint("missing:x"), @"agentkernel: read the command line: --unix-socket missing:x: ROOT/work/missing: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint("file:x"), @"agentkernel: read the command line: --unix-socket file:x: ROOT/work/file is not a socket");
    insta::assert_snapshot!(complaint("service.sock:a/b"), @"agentkernel: read the command line: --unix-socket service.sock:a/b: 'a/b' is no name for a socket; use 1 to 63 of letters, digits, '.', '_' and '-', and begin with a letter or digit");
}
