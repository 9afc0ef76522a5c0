//! What a bare program does that starts the same machine: the same calls of the VMM's API, the same call of its guest, and
//! nothing else.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentkernel_link::{HelloOptions, Link, Token, connect};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::faults::Host;

/// How soon one that does not listen yet is called again.
const AGAIN: Duration = Duration::from_micros(50);

/// For as long as that.
const DEADLINE: Duration = Duration::from_secs(10);

const UUID: &str = "6f1dd4b6-7c3b-4ce6-9a11-000000000001";

/// Starts machines, one at a time: their sockets have the same names.
pub struct Bare {
    /// What is executed, and with which words before those of the VMM.
    words: Vec<String>,
    folder: TempDir,
}

/// A machine whose agent has answered.
pub struct Machine {
    vmm: Child,
    link: Link,
}

impl Bare {
    /// One that has a snapshot to start from. It starts its VMM by these words, or as it is.
    pub async fn new(host: &Host, by: &[&str]) -> Self {
        let program = host.path("bin/firecracker").display().to_string();
        let words = by.iter().map(|word| (*word).to_owned()).chain([program]).collect();
        let bare = Self { words, folder: tempfile::tempdir().expect("a folder") };
        // Its VMM may be another user.
        fs::set_permissions(bare.folder.path(), fs::Permissions::from_mode(0o777)).expect("changed");
        let (_, machine) = bare.start(false).await;
        let [state, memory] = ["state", "memory"].map(|name| bare.place(name));
        bare.ask("PATCH", "/vm", &json!({"state": "Paused"}));
        let create = json!({"snapshot_type": "Full", "snapshot_path": state, "mem_file_path": memory});
        bare.ask("PUT", "/snapshot/create", &create);
        machine.end();
        bare
    }

    fn place(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// How long it took until the agent had answered.
    pub async fn start(&self, of_a_snapshot: bool) -> (Duration, Machine) {
        for name in ["api", "calls"] {
            fs::remove_file(self.place(name))
                .or_else(|why| if why.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(why) })
                .expect("removed");
        }
        let began = Instant::now();
        let (vmm, stream) = self.renewed(of_a_snapshot);
        let stream = tokio::net::UnixStream::from_std(stream).expect("taken");
        let hello = HelloOptions { token: Token([7; 32]), mounts: Vec::new(), deadline: DEADLINE };
        let (link, _ready) = connect(Box::new(stream), hello).await.expect("greeted");
        (began.elapsed(), Machine { vmm, link })
    }

    fn renewed(&self, of_a_snapshot: bool) -> (Child, UnixStream) {
        #[expect(clippy::disallowed_methods, reason = "what a bare program does")]
        let vmm = Command::new(&self.words[0])
            .args(&self.words[1..])
            .args(["--api-sock", &self.place("api"), "--level", "Error", "--id", "bare"])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .expect("started");
        for (how, what, body) in if of_a_snapshot { self.restore() } else { self.boot() } {
            self.ask(how, what, &body);
        }
        let mut stream = reached(&self.place("calls"));
        stream.write_all(b"CONNECT 1024\n").expect("written");
        assert!(line(&mut stream).starts_with("OK "));
        assert_eq!(line(&mut stream), "waiting");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let id: String = format!("{UUID}\n").bytes().map(|byte| format!("{byte:02x}")).collect();
        let told = format!(
            "entropy\t{}\nclock\t{}\t{}\nfill\t/layer/.agentkernel/boot-id\t{id}\nhostname\tbare\ngo\n",
            "00".repeat(32),
            now.as_secs(),
            now.subsec_nanos()
        );
        stream.write_all(told.as_bytes()).expect("written");
        assert!(line(&mut stream).starts_with(&format!("renewed\t{UUID}\t")));
        stream.set_nonblocking(true).expect("changed");
        (vmm, stream)
    }

    fn boot(&self) -> Vec<(&'static str, &'static str, Value)> {
        let place = |name| self.place(name);
        let kernel = json!({"kernel_image_path": place("kernel"), "initrd_path": place("initramfs"), "boot_args": "quiet"});
        let disk = json!({"drive_id": "root", "path_on_host": place("root.ext4"), "is_root_device": false, "is_read_only": true});
        vec![
            ("PUT", "/machine-config", json!({"vcpu_count": 1, "mem_size_mib": 512, "smt": false})),
            ("PUT", "/boot-source", kernel),
            ("PUT", "/drives/root", disk),
            ("PUT", "/vsock", json!({"guest_cid": 3, "uds_path": place("calls")})),
            ("PUT", "/entropy", json!({})),
            (
                "PUT",
                "/balloon",
                json!({"amount_mib": 0, "deflate_on_oom": true, "free_page_reporting": true}),
            ),
            ("PUT", "/actions", json!({"action_type": "InstanceStart"})),
        ]
    }

    fn restore(&self) -> Vec<(&'static str, &'static str, Value)> {
        let memory = json!({"backend_type": "File", "backend_path": self.place("memory")});
        let load = json!({"snapshot_path": self.place("state"), "mem_backend": memory, "resume_vm": true});
        vec![("PUT", "/snapshot/load", load)]
    }

    /// On a connection of its own, as ours are.
    fn ask(&self, how: &str, what: &str, body: &Value) {
        let (mut stream, body) = (reached(&self.place("api")), body.to_string());
        let request = format!(
            "{how} {what} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 204", "{what}");
    }
}

impl Machine {
    pub fn end(mut self) {
        drop(self.link);
        self.vmm.kill().expect("killed");
        self.vmm.wait().expect("it ends");
    }
}

/// Connects as soon as somebody listens.
fn reached(path: &str) -> UnixStream {
    let until = Instant::now() + DEADLINE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(why) => assert!(Instant::now() < until, "{path}: {why}"),
        }
        std::thread::park_timeout(AGAIN);
    }
}

/// One line, and nothing that follows it.
fn line(stream: &mut UnixStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        stream.read_exact(&mut byte).expect("read");
        match byte {
            [b'\n'] => return String::from_utf8(line).expect("text"),
            [byte] => line.push(byte),
        }
    }
}
