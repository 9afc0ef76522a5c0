//! What people run must still run: the other side of every control.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use agentkernel_core::{Backend as _, ExitStatus, Sandbox};
use agentkernel_testkit::{TestEnvironment, noise, tool_or_skip};

use crate::support::{PROGRAM, exec, fixture, spec};

/// Tool, what is run with it, and what it must print.
const WORKLOADS: &[(&str, &str, &str)] = &[
    ("bash", "set -euo pipefail; a=(1 2 3); diff <(echo ${#a[@]}) <(echo 3) && echo same", "same"),
    (
        "python3",
        "python3 -c 'import ctypes, hashlib, json, sqlite3, ssl, subprocess, threading, multiprocessing as m; \
         print(subprocess.check_output([\"echo\", hashlib.sha256(b\"\").hexdigest()[:8]]).decode().strip(), \
         m.get_context(\"fork\").Pool(2).map(abs, [-1, -2]))'",
        "e3b0c442 [1, 2]",
    ),
    (
        "git",
        "git init -q a && cd a && git config user.email a@b && git config user.name c && echo x >f && \
         git add f && git commit -qm one && cd .. && git clone -q a b && cat b/f && git -C b log --format=%s",
        "x\none",
    ),
    (
        "gcc",
        "printf '#include <pthread.h>\\n#include <stdio.h>\\nvoid *f(void *p) { puts(\"thread\"); return p; }\\n\
         int main(void) { pthread_t t; pthread_create(&t, 0, f, 0); return pthread_join(t, 0); }\\n' >a.c && \
         gcc -pthread -o a a.c && ./a",
        "thread",
    ),
    (
        "node",
        "node -e 'const { Worker, isMainThread, parentPort } = require(\"worker_threads\"); \
         new Worker(\"require(\\\"worker_threads\\\").parentPort.postMessage(6 * 7)\", { eval: true })\
         .on(\"message\", answer => console.log(answer))'",
        "42",
    ),
    ("perl", "perl -MPOSIX -MSocket -e 'print POSIX::floor(2.5), \"\\n\"'", "2"),
];

#[tokio::test]
async fn the_tools_of_the_host_work_inside() {
    let Some(fixture) = fixture().await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    for (tool, script, expected) in WORKLOADS {
        if tool_or_skip(tool).is_none() {
            continue;
        }
        let script = format!("mkdir -p /tmp/{tool} && cd /tmp/{tool} && {script}");
        let said = exec(&*sandbox, &["bash", "-c", &script]).await;
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.exited.status, ExitStatus::Code(0), "{tool}: {errors}");
        assert_eq!(said.text().trim(), *expected, "{tool}: {errors}");
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn nothing_of_the_hosts_users_is_visible() {
    let Some(fixture) = fixture().await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    assert_eq!(listing(&*sandbox, "/home").await, "");
    // Where sockets would be, if it had any: a link of ours, to a place of its own.
    assert_eq!(listing(&*sandbox, "/run /var -mindepth 1 -not -name tmp").await, "/run/agentkernel");
    assert_eq!(listing(&*sandbox, "/run/agentkernel/").await, "");
    assert_eq!(listing(&*sandbox, "/ -xdev -type s").await, "", "no socket");
    let etc = listing(&*sandbox, "/etc -maxdepth 1").await;
    for secret in ["shadow", "gshadow", "ssh", "sudoers", "machine-id", "environment", "fstab"] {
        assert!(!etc.lines().any(|line| line == format!("/etc/{secret}")), "/etc/{secret} is visible");
    }
    let passwd = exec(&*sandbox, &["cat", "/etc/passwd"]).await.text();
    assert_eq!(passwd.lines().count(), 3, "{passwd}");
    sandbox.stop().await.expect("stops");
}

async fn listing(sandbox: &dyn Sandbox, what: &str) -> String {
    let said = exec(sandbox, &["sh", "-c", &format!("find {what} 2>/dev/null | sort")]).await;
    let lines = said.text();
    // A folder that was named is listed itself.
    let named: Vec<&str> = what.split(' ').filter(|word| word.starts_with('/')).collect();
    lines.lines().filter(|line| !named.contains(line)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_hundred_megabytes_pass_through_a_pipe_unchanged() {
    if fixture().await.is_none() {
        return;
    }
    let environment = TestEnvironment::new();
    let sent = noise(100 << 20);
    let mut program = environment.command(PROGRAM);
    program.args(["run", "-i", "--output-limit", "1G", "--", "cat"]).stdin(Stdio::piped());
    let mut child = program.spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&to_send));
    let mut received = Vec::with_capacity(sent.len());
    child.stdout.take().expect("piped").read_to_end(&mut received).expect("read");
    writer.join().expect("the writer ends").expect("all was taken");
    assert!(child.wait().expect("reaped").success());
    assert!(received == sent, "{} of {} bytes, or other ones", received.len(), sent.len());
}
