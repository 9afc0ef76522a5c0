//! The attack probe inside a sandbox. Each attempt must say BLOCKED in a real one, and OPEN in one that
//! was weakened on purpose: else the probe is blind. What was planted on the host decides in the end.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use agentkernel_core::{Backend, Sandbox, SandboxSpec};
use agentkernel_oci::engine::Engine;
use agentkernel_oci::plan::{Plan, SeccompPlan};
use agentkernel_testkit::random_u64;
use serde_json::{Value, json};

use crate::probe;
use crate::support::{exec, fixture, fixture_with, spec};

/// Attempts that may say OPEN in a hardened container, and why that is no way out.
pub const ALLOWED_OPEN: &[(&str, &str)] = &[(
    "ptrace-sibling",
    "debuggers work: a neighbour in one sandbox is the same tenant, and PID 1 is out of reach",
)];

/// The same under the gVisor of 2022-12. Whatever is reached there is its own kernel's, and nothing of the host's.
const ALLOWED_OPEN_IN_GVISOR: &[(&str, &str)] = &[
    ("root-not-read-only", "it tells no flags of a mount; writing is refused all the same (root-write-*)"),
    ("mknod-char", "nodes can be made, of devices that its kernel does not have"),
    ("mknod-block", "nodes can be made, of devices that its kernel does not have"),
    ("dev-unexpected", "its kernel's own fuse and tun, which lead to nothing outside"),
    ("i386-getpid", "no such calls: an error that the probe does not know"),
    ("i386-keyctl", "no such calls: an error that the probe does not know"),
    ("ptrace-sibling", "debuggers work: a neighbour in one sandbox is the same tenant"),
    ("capset-raise", "capabilities that its kernel does not know are taken and mean nothing"),
    ("ambient-raise", "it knows no ambient capabilities"),
    ("cap-ambient", "it knows no ambient capabilities"),
    ("writable-mount-suid", "it tells no flags of a mount; no_new_privs makes set-id bits mean nothing"),
    ("writable-mount-dev", "it tells no flags of a mount"),
    ("oom-score-lower", "its kernel kills nobody for want of memory: the host's kills all of it"),
    // Its kernel does not know of processes that nobody may look into. The agent is another user there: what its stream is
    // cannot be opened, as the test below shows, and docs/security-posture.md says.
    ("pid1-environ", "to be read: HOME of the agent, and nothing else"),
    ("pid1-maps", "to be read, and its memory is not"),
    ("pid1-fd", "to be counted"),
    ("pid1-fd-open", "those that open are /dev/null"),
    ("pid1-stdin-write", "it is /dev/null"),
];

/// What is planted on the host: none of it may be seen, reached or changed from inside.
pub struct Bait {
    canary: String,
    folder: tempfile::TempDir,
    tcp: TcpListener,
    unix: UnixListener,
    name: String,
}

impl Bait {
    pub fn plant() -> Self {
        let canary = format!("canary-{:016x}", random_u64());
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), &canary).expect("written");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        tcp.set_nonblocking(true).expect("non-blocking");
        let name = format!("bait-{:016x}", random_u64());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let unix = UnixListener::bind_addr(&address).expect("an abstract socket");
        unix.set_nonblocking(true).expect("non-blocking");
        Self { canary, folder, tcp, unix, name }
    }

    fn arguments(&self) -> Vec<String> {
        let secret = self.folder.path().join("secret").display().to_string();
        let port = self.tcp.local_addr().expect("bound").port().to_string();
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let pid = std::process::id().to_string();
        [
            ("--canary", self.canary.clone()),
            ("--host-path", secret),
            ("--host-path", "/etc/shadow".into()),
            ("--host-port", port),
            ("--host-abstract", self.name.clone()),
            ("--host-pid", pid),
            ("--host-hostname", hostname),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect()
    }

    fn assert_untouched(&self) {
        let again = std::fs::read_to_string(self.folder.path().join("secret")).expect("still there");
        assert_eq!(again, self.canary);
        assert!(self.tcp.accept().is_err(), "somebody reached the host's port");
        assert!(self.unix.accept().is_err(), "somebody reached the host's abstract socket");
    }
}

/// Every attempt's line, by id.
pub async fn attack(sandbox: &dyn Sandbox, bait: &Bait, ids: &[&str]) -> BTreeMap<String, Value> {
    let mut argv = vec![probe::PLACE.to_owned()];
    argv.extend(ids.iter().map(|id| (*id).to_owned()));
    argv.extend(bait.arguments());
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let said = exec(sandbox, &words).await;
    assert!(!said.text().contains(&bait.canary) || ids.len() < 10, "the canary came out:\n{}", said.text());
    lines(&said.text())
}

fn lines(text: &str) -> BTreeMap<String, Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| Some((line["id"].as_str()?.to_owned(), line)))
        .collect()
}

async fn listed(sandbox: &dyn Sandbox) -> BTreeMap<String, Value> {
    let said = exec(sandbox, &[probe::PLACE, "--list"]).await;
    assert!(said.exited.status.is_success(), "the probe does not run: {said:?}");
    lines(&said.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_hardened_sandbox() {
    let Some(fixture) = fixture().await else { return };
    no_attack_works(&fixture.backend, ALLOWED_OPEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_sandbox_that_runc_made() {
    let Some(fixture) = fixture_with(Engine::Runc).await else { return };
    no_attack_works(&fixture.backend, ALLOWED_OPEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_sandbox_that_crun_made() {
    let Some(fixture) = fixture_with(Engine::Crun).await else { return };
    no_attack_works(&fixture.backend, ALLOWED_OPEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_under_gvisor() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    no_attack_works(&fixture.backend, ALLOWED_OPEN_IN_GVISOR).await;
}

/// Makes every attempt.
pub async fn no_attack_works(backend: &dyn Backend, allowed_open: &[(&str, &str)]) {
    no_attack_works_in(backend, &spec(), allowed_open).await;
}

/// The same in a sandbox of this description.
pub async fn no_attack_works_in(backend: &dyn Backend, spec: &SandboxSpec, allowed_open: &[(&str, &str)]) {
    let bait = Bait::plant();
    let sandbox = backend.boot(spec).await.expect("boots").sandbox;
    probe::put_into(&*sandbox).await;
    let listed = listed(&*sandbox).await;
    assert!(listed.len() > 150, "{} attempts", listed.len());
    let ids: Vec<&str> = listed.keys().map(String::as_str).collect();
    let results = attack(&*sandbox, &bait, &ids).await;
    let mut wrong = Vec::new();
    for id in listed.keys() {
        // A line that is missing is an error, never a success of ours.
        let Some(result) = results.get(id) else {
            wrong.push(format!("{id}: no line"));
            continue;
        };
        let expected =
            allowed_open.iter().any(|(allowed, _)| allowed == id) || result["informational"] == true;
        if result["verdict"] != "BLOCKED" && !expected {
            wrong.push(result.to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bait.assert_untouched();
    sandbox.ping().await.expect("the agent goes on after the attacks");
    assert!(sandbox.posture().await.expect("readable").holds(), "the posture holds after the attacks");
    sandbox.stop().await.expect("stops");
}

/// A backend without one of the controls, and the attempts that must then say OPEN. Overwriting programs and
/// using up resources have theirs in `overwriting.rs` and in `tests/exhaust`.
type Weakness = (&'static str, fn(&mut Plan), &'static [&'static str]);

const WEAKNESSES: &[Weakness] = &[
    (
        "no system call filter",
        |plan| plan.seccomp = SeccompPlan::Off,
        &[
            "keyctl",
            "add-key",
            "request-key",
            "unshare-user",
            "clone-newuser",
            "clone3",
            "personality",
            "socket-vsock",
            "netlink-audit",
            "netlink-uevent",
            "netlink-generic",
            "tiocsti",
            "seccomp-off",
            "io-uring-setup",
        ],
    ),
    (
        "the host's network",
        |plan| drop_namespace(plan, "network"),
        &["network-interfaces", "host-port", "host-abstract"],
    ),
    (
        "the host's host name",
        |plan| {
            drop_namespace(plan, "uts");
            unname(plan);
        },
        &["hostname"],
    ),
    ("a writable root", |plan| plan.config["root"]["readonly"] = json!(false), &["root-not-read-only"]),
    (
        "root inside",
        |plan| {
            plan.config["process"]["user"] = json!({"uid": 0, "gid": 0});
            plan.config["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
            plan.config["process"]["capabilities"]["permitted"] =
                json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
            plan.config["process"]["capabilities"]["effective"] =
                json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
            plan.seccomp = SeccompPlan::Off;
        },
        &["is-root", "cap-permitted", "cap-effective", "cap-bounding"],
    ),
    (
        // The sandbox's namespaces belong to the host's user namespace: a root inside, whatever it may, is
        // nobody to them. Only the host's own root can change them.
        "root of the host inside",
        |plan| {
            drop_namespace(plan, "user");
            plan.config["process"]["user"] = json!({"uid": 0, "gid": 0});
            for set in ["bounding", "permitted", "effective"] {
                plan.config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
            }
            plan.seccomp = SeccompPlan::Off;
        },
        &["mount-tmpfs", "sethostname"],
    ),
    (
        "no limits of a process",
        |plan| plan.config["process"]["rlimits"] = json!([]),
        &["rlimit-nofile", "rlimit-memlock", "rlimit-fsize"],
    ),
    (
        "no filter and no new privileges",
        |plan| {
            plan.config["process"]["noNewPrivileges"] = json!(false);
            plan.seccomp = SeccompPlan::Off;
        },
        &["no-new-privs-off"],
    ),
];

fn drop_namespace(plan: &mut Plan, kind: &str) {
    let list = plan.config["linux"]["namespaces"].as_array_mut().expect("a list");
    list.retain(|entry| entry["type"] != kind);
}

fn unname(plan: &mut Plan) {
    plan.config.as_object_mut().expect("an object").remove("hostname");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attack_works_where_its_control_is_missing() {
    let mut blind = Vec::new();
    for (what, change, ids) in WEAKNESSES {
        let Some(fixture) = fixture().await.map(|fixture| fixture.weakened(*change)) else { return };
        let bait = Bait::plant();
        let sandbox =
            fixture.backend.boot(&spec()).await.unwrap_or_else(|error| panic!("{what}: {error}")).sandbox;
        probe::put_into(&*sandbox).await;
        let results = attack(&*sandbox, &bait, ids).await;
        for id in *ids {
            let verdict = results.get(*id).map_or(&Value::Null, |result| &result["verdict"]);
            if verdict != "OPEN" {
                blind.push(format!("with {what}, {id}: {:?}", results.get(*id)));
            }
        }
        sandbox.stop().await.expect("stops");
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}
