//! The positive controls: where nothing holds an attack back it must say OPEN, else the probe is blind.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

const PROBE: &str = env!("CARGO_BIN_EXE_attack-probe");

/// What some kernels were built without: there an attack is refused everywhere, and has no control.
const ABSENT_IN_SOME_KERNELS: &[&str] = &[
    "cgroup-release-agent",
    "channel-devices",
    "delete-module",
    "dev-block",
    "dev-mem",
    "dev-port",
    "finit-module",
    "i386-getpid",
    "i386-keyctl",
    "init-module",
    "ioperm",
    "iopl",
    "masked-acpi",
    "masked-asound",
    "masked-firmware",
    "masked-kcore",
    "masked-latency-stats",
    "masked-powercap",
    "masked-sched-debug",
    "masked-scsi",
    "netlink-xfrm",
    "proc-modprobe",
    "setuid-file",
    "socket-alg",
    "socket-alg-high-bit",
    "tiocsti",
    "tiocsti-high-bit",
    "uevent-helper",
    "unshare-time",
    "setns-time",
    "x32-getpid",
    "x32-keyctl",
];

/// What must be refused to a plain user of the host, who has no capability and cannot get one.
const REFUSED_TO_A_USER: &[&str] = &[
    "acct",
    "ambient-raise",
    "bounding-drop",
    "cap-ambient",
    "cap-effective",
    "cap-inheritable",
    "cap-permitted",
    "capset-raise",
    "chroot",
    "clone-newnet",
    "clone-newns",
    "clone-newpid",
    "fsopen",
    "is-root",
    "mknod-block",
    "mknod-char",
    "mount-bind",
    "mount-new",
    "move-mount",
    "no-new-privs-off",
    "open-by-handle-at",
    "open-tree",
    "pivot-root",
    "proc-core-pattern",
    "proc-sys-vm",
    "setdomainname",
    "setgid-0",
    "setgroups",
    "sethostname",
    "setns-mnt",
    "setns-net",
    "setns-pid",
    "setns-uts",
    "setresuid-0",
    "setuid-0",
    "setuid-file",
    "socket-packet",
    "socket-raw-ipv4",
    "swapon",
    "umount",
    "unshare-ipc",
    "unshare-mount",
    "unshare-net",
    "unshare-pid",
    "unshare-uts",
    "write-dev",
    "write-etc",
    "write-etc-passwd",
    "write-root",
    "write-usr",
    "write-usr-bin",
];

const CANARY: &str = "canary-of-the-positive-controls";

/// What is planted, and goes when the test ends.
struct Plant {
    folder: PathBuf,
    port: TcpListener,
    _abstract: UnixListener,
    _socket: UnixListener,
}

impl Plant {
    fn new(name: &str) -> Self {
        // Below /tmp, because there the probe looks for sockets; readable, because a plain user runs it too.
        let folder = PathBuf::from(format!("/tmp/attack-probe-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("home")).expect("a folder in /tmp");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its permissions");
        fs::write(folder.join("canary"), CANARY).expect("a canary");
        fs::write(folder.join("home/file"), "private").expect("a private file");
        fs::copy(PROBE, folder.join("probe")).expect("a copy of the probe");
        let address = SocketAddr::from_abstract_name(folder.as_os_str().as_encoded_bytes()).expect("a name");
        Plant {
            port: TcpListener::bind("127.0.0.1:0").expect("a port"),
            _abstract: UnixListener::bind_addr(&address).expect("an abstract socket"),
            _socket: UnixListener::bind(folder.join("socket")).expect("a socket"),
            folder,
        }
    }

    /// The options that tell the probe what was planted.
    fn options(&self) -> Vec<String> {
        let port = self.port.local_addr().expect("an address").port();
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host's name");
        let path = self.folder.join("canary").display().to_string();
        let abstract_name = self.folder.display().to_string();
        let pairs = [
            ("--canary", CANARY.to_owned()),
            ("--host-path", path),
            ("--host-port", port.to_string()),
            ("--host-abstract", abstract_name),
            ("--host-hostname", hostname.trim().to_owned()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).expect("the folder goes");
    }
}

#[expect(clippy::disallowed_methods, reason = "a test starts the program under test")]
fn command(program: &str) -> Command {
    Command::new(program)
}

#[expect(clippy::disallowed_methods, reason = "only the environment knows whether this is CI")]
fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// Whether this is root with all that makes root dangerous. A skip is loud, and no skip in CI.
fn is_root() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let capabilities = u64::from_str_radix(effective.trim(), 16).expect("a number");
    let is_root = fs::metadata("/proc/self").expect("oneself").uid() == 0 && capabilities & SYS_ADMIN != 0;
    assert!(is_root || !is_ci(), "the controls need root, and in CI there is no skip");
    if !is_root {
        eprintln!("SKIPPED: the controls need root with CAP_SYS_ADMIN");
    }
    is_root
}

fn lines(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!text.is_empty(), "no line was printed: {errors}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{errors}")))
        .collect()
}

fn ids_with_control(control: &str) -> Vec<String> {
    let all = lines(command(PROBE).arg("--list"));
    let chosen = all.iter().filter(|line| line["control"] == control);
    chosen.map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
}

/// The lines by id: each id that was asked for has exactly one.
fn by_id(ids: &[String], lines: Vec<Value>) -> BTreeMap<String, Value> {
    let found: Vec<&str> = lines.iter().map(|line| line["id"].as_str().expect("an id")).collect();
    assert_eq!(found, ids);
    lines.into_iter().map(|line| (line["id"].as_str().expect("an id").to_owned(), line)).collect()
}

fn assert_all_open(findings: &BTreeMap<String, Value>) {
    let mut blind = Vec::new();
    for (id, line) in findings {
        let may_be_absent = ABSENT_IN_SOME_KERNELS.contains(&id.as_str());
        match line["verdict"].as_str() {
            Some("OPEN") => {}
            Some("BLOCKED") if may_be_absent => eprintln!("NO CONTROL on this kernel: {line}"),
            _ => blind.push(line.to_string()),
        }
    }
    assert!(blind.is_empty(), "these did not see an open door:\n{}", blind.join("\n"));
}

#[test]
fn every_attack_that_is_harmless_outside_says_open_there() {
    if !is_root() {
        return;
    }
    let plant = Plant::new("host");
    let ids = ids_with_control("host");
    let mut probe = command(PROBE);
    probe.args(&ids).args(plant.options()).env("LEAK", CANARY).env("SSH_AUTH_SOCK", "/run/agent");
    // The kernel's command line cannot be planted, so that its own first word is a canary.
    let kernel = fs::read_to_string("/proc/cmdline").expect("the kernel's command line");
    probe.args(["--canary", kernel.split_whitespace().next().expect("a word")]);
    assert_all_open(&by_id(&ids, lines(&mut probe)));
}

/// PID 1 of new namespaces, with all that a sandbox must not have: descriptors, a socket as input, neighbours,
/// private folders as mounts, and a canary in an environment and on a command line.
const WEAK_SANDBOX: &str = r#"
set -e
mount --bind "$FOLDER/home" /home
mount --bind "$FOLDER/home" /root
exec 7< "$FOLDER" 9<&0 0< /dev/null
sh -c 'sleep 60; :' "$LEAK" &
( setpriv --inh-caps +chown --ambient-caps +chown "$FOLDER/probe" --host-pid $! "$@" <&9 )
: the shell stays PID 1, with an input that can be opened
"#;

#[test]
fn every_attack_that_is_harmless_in_namespaces_says_open_there() {
    if !is_root() {
        return;
    }
    let plant = Plant::new("namespaces");
    let ids = ids_with_control("namespaces");
    let (input, _other_end) = UnixStream::pair().expect("a socket");
    let mut probe = command("unshare");
    probe.args(["--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]);
    probe.args(["sh", "-c", WEAK_SANDBOX, "sh"]).args(&ids).args(plant.options());
    probe.env("FOLDER", &plant.folder).env("LEAK", CANARY).stdin(Stdio::from(OwnedFd::from(input)));
    assert_all_open(&by_id(&ids, lines(&mut probe)));
}

#[test]
fn what_a_plain_user_may_not_do_is_blocked() {
    if !is_root() {
        return;
    }
    let plant = Plant::new("user");
    let ids: Vec<String> = REFUSED_TO_A_USER.iter().map(ToString::to_string).collect();
    let mut probe = command("setpriv");
    probe.args(["--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]);
    probe.arg(plant.folder.join("probe")).args(&ids).current_dir("/");
    let findings = by_id(&ids, lines(&mut probe));
    let wrong: Vec<String> =
        findings.values().filter(|line| line["verdict"] != "BLOCKED").map(Value::to_string).collect();
    assert!(wrong.is_empty(), "these are refused to a plain user:\n{}", wrong.join("\n"));
}

#[test]
fn what_was_not_planted_is_an_error_and_never_blocked() {
    let ids = ["host-path-direct", "host-port", "host-abstract", "hostname", "env-canary", "no-such-attempt"];
    let findings = by_id(&ids.map(ToOwned::to_owned), lines(command(PROBE).args(ids)));
    assert!(findings.values().all(|line| line["verdict"] == "ERROR"), "{findings:?}");
}

#[test]
fn a_refused_host_path_is_blocked() {
    let path = "/attack-probe-absent/canary";
    let line = lines(command(PROBE).args(["host-path-direct", "--host-path", path])).remove(0);
    assert_eq!((&line["verdict"], &line["errno"]), (&"BLOCKED".into(), &2.into()));
}
