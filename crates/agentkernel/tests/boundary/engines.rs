//! Runtimes of the host that fail, lie or panic: what is told, and that nothing is left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use agentkernel_core::{Availability, Backend as _, CauseOfDeath, Command, ErrorKind};
use agentkernel_oci::engine::Engine;
use agentkernel_testkit::TestEnvironment;
use serde_json::{Value, json};

use crate::support::{exec, fixture, fixture_with, spec};

/// Makes a program of this name that says its version, and does this when it is to run something.
fn runtime(folder: &std::path::Path, engine: Engine, version: &str, run: &str) {
    let path = folder.join(engine.program());
    let script = format!("#!/bin/sh\ncase \"$*\" in --version) echo '{version}';; *) {run};; esac\n");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_makes_nothing_is_told_in_its_own_words() {
    let Some(fixture) = fixture().await else { return };
    if !fixture.backend.facts().root {
        return;
    }
    for (run, told) in [
        ("exit 0", "it ended without a word"),
        ("echo no such luck >&2; exit 1", "no such luck"),
        ("kill -9 $$", "it ended without a word"),
    ] {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        runtime(folder.path(), Engine::Runc, "runc version 1.1.9", run);
        let lying = fixture.backend.by(Engine::Runc, &[folder.path().to_owned()]);
        let error = lying.boot(&spec()).await.err().expect("nothing was made");
        assert_eq!(error.kind, ErrorKind::Boot);
        assert!(error.to_string().contains(told), "{error}");
        let probed = lying.probe().await;
        assert!(
            matches!(&probed, Availability::Unavailable { needs, .. } if needs.contains(told)),
            "{probed:?}"
        );
    }
    let records = fs::read_dir(fixture.runtime.path().join("sandboxes")).expect("a folder");
    assert_eq!(records.count(), 0, "records are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_is_missing_or_too_old_is_refused_and_nothing_else_is_taken() {
    let Some(fixture) = fixture().await else { return };
    if !fixture.backend.facts().root {
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let folders = [folder.path().to_owned()];
    let missing = fixture.backend.by(Engine::Gvisor, &folders).boot(&spec()).await.err().expect("refused");
    assert_eq!(
        (missing.kind, missing.hint.as_deref()),
        (ErrorKind::Unavailable, Some("apt-get install runsc"))
    );
    runtime(folder.path(), Engine::Gvisor, "runsc version release-20190101.0", "exit 1");
    let old = fixture.backend.by(Engine::Gvisor, &folders).boot(&spec()).await.err().expect("refused");
    assert_eq!(old.kind, ErrorKind::Unavailable);
    assert!(old.to_string().contains("of 2022-12 or later") && old.to_string().contains("is older"), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_hangs_while_it_makes_the_container_is_given_up_with_its_last_words() {
    let Some(fixture) = fixture().await else { return };
    if !fixture.backend.facts().root {
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    runtime(folder.path(), Engine::Runc, "runc version 1.1.9", "echo thinking >&2; exec sleep 613");
    let hanging = fixture.backend.by(Engine::Runc, &[folder.path().to_owned()]);
    let error = hanging.boot(&spec()).await.err().expect("nothing was made");
    assert_eq!(error.kind, ErrorKind::Boot);
    assert!(error.to_string().contains("does not come to an end; thinking"), "{error}");
    let records = fs::read_dir(fixture.runtime.path().join("sandboxes")).expect("a folder");
    assert_eq!(records.count(), 0, "records are left");
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let words = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    assert!(!words.into_iter().any(|words| words == b"sleep\x00613\x00"), "it lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_of_gvisors_that_panics_is_told_as_that() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    // Too few threads for what runs inside.
    let fixture = fixture.weakened(|plan| {
        plan.around["pids"] = json!({"limit": 90});
        if let Some(group) = &mut plan.cgroup {
            group.pids = Some(90);
        }
    });
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let many = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let _running = sandbox.exec(&Command::new(["sh", "-c", many])).await.expect("it starts");
    let ended = sandbox.ended().await;
    assert_eq!(ended.cause, CauseOfDeath::BoundaryCrashed);
    assert!(ended.detail.contains("its kernel panicked"), "{}", ended.detail);
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_under_gvisor_is_not_the_hosts() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let inside = exec(&*sandbox, &["uname", "-r"]).await.text();
    assert_ne!(inside.trim(), release);
    sandbox.stop().await.expect("stops");
}

/// Prints each descriptor of the agent that can be opened, and the number of the device that it is. A kernel that does not even
/// show them, as gVisor of 2026, is asked for each number that the agent may have.
const OPENED: &str = "
import os
try:
    names = sorted(os.listdir('/proc/1/fd'), key=int)
except PermissionError:
    names = [str(number) for number in range(1024)]
for name in names:
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        try:
            file = os.open('/proc/1/fd/' + name, flags | os.O_NONBLOCK)
        except OSError:
            continue
        facts = os.fstat(file)
        print(name, os.major(facts.st_rdev), os.minor(facts.st_rdev))
        os.close(file)
print('tried', names[-1])
";

#[tokio::test(flavor = "multi_thread")]
async fn under_gvisor_nobody_speaks_in_the_agents_place() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let said = exec(&*sandbox, &["python3", "-c", OPENED]).await;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let (tried, opened): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("tried"));
    assert!(opened.iter().all(|line| line.ends_with(" 1 3")), "{text}");
    // The agent keeps its stream at 64 and above.
    let last = tried.first().and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(last.is_some_and(|last| last >= 64), "{said:?}");
    sandbox.stop().await.expect("stops");
}

/// Prints what can be seen of a sandbox in which nothing has run: its files, but for what its kernel makes itself, its
/// processes, and how many descriptors the agent has.
const SEEN: &str = "
import os
for top in ('/', '/workspace', '/tmp', '/dev/shm', '/run', '/var/tmp'):
    for name in sorted(os.listdir(top)):
        facts = os.lstat(os.path.join(top, name))
        print(os.path.join(top, name), oct(facts.st_mode), facts.st_uid)
print('processes', sorted(name for name in os.listdir('/proc') if name.isdigit() and int(name) != os.getpid()))
try:
    print('descriptors of the agent', len(os.listdir('/proc/1/fd')))
except PermissionError:
    print('descriptors of the agent are not shown')
print('limits', open('/proc/self/limits').read())
print('who', os.getuid(), os.getgid(), os.getgroups(), os.getcwd(), dict(os.environ))
";

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_leaves_nothing_that_can_be_seen_inside() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    let mut seen = Vec::new();
    for rehearses in [false, true] {
        let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
        if rehearses {
            sandbox.rehearse().await.expect("it rehearses");
        }
        // All that tells of it is that numbers of processes were used up.
        let pid: u32 = exec(&*sandbox, &["sh", "-c", "echo $$"]).await.text().parse().expect("a number");
        assert_eq!(pid > 2, rehearses, "{pid}");
        let said = exec(&*sandbox, &["python3", "-c", SEEN]).await;
        assert!(said.text().contains("processes ['1']"), "{}", said.text());
        let posture = sandbox.posture().await.expect("readable");
        assert!(posture.holds(), "{:#?}", posture.broken().collect::<Vec<_>>());
        seen.push(said.text());
        sandbox.stop().await.expect("stops");
    }
    assert_eq!(seen[0], seen[1]);
}

/// Looks for commands that are about to start, and tries to get into their memory, which is the agent's still. Prints how often
/// it has tried that with one that is of its own user already, and what it could do.
const LYING_IN_WAIT: &str = "
import ctypes, os, time
libc = ctypes.CDLL(None)
seen, opened, until, rounds = 0, [], time.monotonic() + 8, 0
def newest():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
def named(pid):
    with open(f'/proc/{pid}/comm') as comm:
        return comm.read()
def attack(pid, name):
    for flags in (os.O_RDONLY, os.O_RDWR):
        memory = -1
        try:
            memory = os.open(f'/proc/{pid}/mem', flags)
            if named(pid) == name:
                opened.append('memory')
        except OSError:
            pass
        if memory >= 0:
            os.close(memory)
    if libc.ptrace(16, pid, 0, 0) == 0:
        opened.append('traced')
        libc.ptrace(17, pid, 0, 0)
while time.monotonic() < until:
    if rounds % 200 == 0:
        last = newest() # some may have come and gone unseen
    rounds += 1
    for pid in range(last + 1, last + 4):
        try:
            name = named(pid)
            last = pid
            while name.startswith('agentkernel-gue') and named(pid) == name:
                with open(f'/proc/{pid}/status') as status:
                    mine = f'Uid:\\t{os.getuid()}' in status.read()
                attack(pid, name)
                seen += mine and named(pid) == name
        except OSError:
            pass
print('seen', seen, 'opened', opened)
";

#[tokio::test(flavor = "multi_thread")]
async fn under_gvisor_nobody_looks_into_a_command_that_starts() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let waiting = sandbox.exec(&Command::new(["python3", "-c", LYING_IN_WAIT])).await.expect("it starts");
    let waits = tokio::spawn(agentkernel_testkit::listen(waiting));
    while !waits.is_finished() {
        exec(&*sandbox, &["true"]).await;
    }
    let said = waits.await.expect("no panic").expect("the sandbox lives").text();
    assert!(said.ends_with("opened []"), "{said}");
    let seen: Option<u32> = said.split(' ').nth_back(2).and_then(|number| number.parse().ok());
    assert!(seen.is_some_and(|seen| seen > 0), "nobody was seen: {said}");
    sandbox.stop().await.expect("stops");
}

/// What the program of a host answers whose `ls` and `stat` are busybox's, for this command alone. gVisor of 2022 refuses those of
/// coreutils 9.
fn beside_busybox(environment: &TestEnvironment, words: &[&str]) -> Value {
    let script = "for name in ls stat; do mount --bind \"$0\" /usr/bin/$name || exit 99; done; exec \"$@\"";
    let before =
        ["--mount", "--propagation", "private", "sh", "-c", script, "/bin/busybox", crate::support::PROGRAM];
    serde_json::from_slice(&environment.run("unshare", &[&before, words].concat()).stdout).expect("JSON")
}

/// The strongest backend that works according to `doctor`, and what it says of gVisor.
fn strongest(doctor: &Value) -> (&Value, &Value) {
    let backends = doctor["backends"].as_array().expect("a list");
    let find = |key: &str, value: &str| backends.iter().find(|one| one[key] == value).expect("listed");
    (&find("status", "available")["backend"], &find("backend", "gvisor")["status"])
}

#[tokio::test(flavor = "multi_thread")]
async fn gvisor_is_taken_unasked_where_programs_work_in_it_and_passed_over_where_ls_does_not() {
    if fixture_with(Engine::Gvisor).await.is_none() {
        return;
    }
    let environment = TestEnvironment::new();
    let (run, doctor) = (["run", "--format", "json", "--", "uname", "-r"], ["doctor", "--format", "json"]);
    let (told, known) = (beside_busybox(&environment, &run), beside_busybox(&environment, &doctor));
    assert_eq!((&told["backend"], &json!("available")), strongest(&known), "{told}");
    let host = rustix::system::uname();
    assert!(told["stdout"] != format!("{}\n", host.release().to_string_lossy()), "{told}");
    // What was found out with another `ls` does not count.
    let here = |words| serde_json::from_slice(&environment.run(crate::support::PROGRAM, words).stdout);
    let (told, known): (Value, Value) = (here(&run).expect("JSON"), here(&doctor).expect("JSON"));
    assert_eq!(&told["backend"], strongest(&known).0, "{told}");
}
