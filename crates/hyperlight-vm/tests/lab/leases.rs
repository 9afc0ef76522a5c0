//! Each command begins from the snapshot: nothing of another is there.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{CauseOfDeath, ErrorKind, Image, SignalTarget};
use agentkernel_pool::{Origin, Pool, PoolSettings};

use crate::rig::{PATIENCE, backend, command, has_kvm, probing, root, run, say, spec};

#[tokio::test]
async fn no_state_passes_from_one_command_to_the_next() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    let write = ["probe", "write", "/tmp/left"];
    for _ in 0..3 {
        // It fails where the file is there already.
        assert_eq!(say(&*sandbox, &write).await.text(), "write: works");
    }
    assert_eq!(say(&*sandbox, &["probe", "crash"]).await.code(), 128 + 11);
    assert_eq!(say(&*sandbox, &write).await.text(), "write: works", "after a crash");
    let mut endless = command(&["probe", "spin"]);
    endless.timeout = Some(Duration::from_millis(500));
    assert!(run(&*sandbox, &endless, None).await.expect("it runs").exited.timed_out);
    assert_eq!(say(&*sandbox, &write).await.text(), "write: works", "after a deadline");
}

#[tokio::test]
async fn two_commands_of_one_snapshot_draw_other_random_numbers() {
    if !has_kvm() {
        return;
    }
    let booted = agentkernel_core::Backend::boot(&backend(), &spec(Image::Host, 128)).await;
    let sandbox = booted.unwrap_or_else(|why| panic!("{why}")).sandbox;
    let draw = ["od", "-An", "-tx1", "-N16", "/dev/urandom"];
    let drawn = [say(&*sandbox, &draw).await.text(), say(&*sandbox, &draw).await.text()];
    assert!(drawn[0].len() > 40 && drawn[0] != drawn[1], "{drawn:?}");
}

#[tokio::test]
async fn one_command_runs_at_a_time_and_a_dropped_one_is_gone() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    let first = sandbox.exec(&command(&["probe", "pause"])).await.expect("it starts");
    let second = sandbox.exec(&command(&["probe", "exit", "0"])).await.err().expect("refused");
    assert_eq!(second.kind, ErrorKind::CommandRefused);
    drop(first);
    let free = async {
        while let Err(why) = run(&*sandbox, &command(&["probe", "exit", "5"]), None).await {
            assert_eq!(why.kind, ErrorKind::CommandRefused, "{why}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("its machine is free again");
}

#[tokio::test]
async fn a_sandbox_whose_helper_is_killed_ends_and_says_so() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    let posture = sandbox.posture().await.expect("read");
    assert!(posture.holds(), "{posture:?}");
    let mut process = sandbox.exec(&command(&["probe", "pause"])).await.expect("it starts");
    let helper = helper_of_this_process();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).expect("killed");
    let ended = tokio::time::timeout(PATIENCE, sandbox.ended()).await.expect("it ends");
    assert_eq!(ended.cause, CauseOfDeath::Killed);
    let last = process.next().await.expect("an end");
    assert!(matches!(last, agentkernel_core::ProcessEvent::Exited(_)), "{last:?}");
    let gone = sandbox.exec(&command(&["probe", "exit", "0"])).await.err().expect("refused");
    assert_eq!(gone.kind, ErrorKind::SandboxGone);
    process.control().signal(9, SignalTarget::Process).await.expect("what is said after its end is ignored");
}

/// Beside the posture, by the host's own files: each thread of it, also after a machine that had to be made anew.
#[tokio::test]
async fn the_helper_is_nobody_in_an_empty_root_and_starts_nothing() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    let helper = format!("/proc/{}", helper_of_this_process().as_raw_nonzero());
    for round in 0..2 {
        let posture = sandbox.posture().await.expect("read");
        assert!(posture.holds(), "{posture:?}");
        let tasks = std::fs::read_dir(format!("{helper}/task")).expect("read").flatten();
        let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let statuses: Vec<String> = statuses.collect();
        assert!(statuses.len() > 1, "it has its machine's thread and the one that hears orders");
        for status in &statuses {
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(|value| value.split_whitespace().collect::<Vec<_>>()).unwrap_or_default()
            };
            assert_eq!(
                (field("Seccomp"), field("CapPrm")),
                (vec!["2"], vec!["0000000000000000"]),
                "{status}"
            );
            if rustix::process::geteuid().is_root() {
                let user = field("Uid");
                assert!(user[0] != "0" && user.iter().all(|id| *id == user[0]), "{round}: {status}");
                assert_eq!((field("Gid"), field("Groups")), (user, vec![]), "{round}: {status}");
            }
        }
        if rustix::process::geteuid().is_root() {
            let root = std::fs::read_dir(format!("{helper}/root")).expect("read");
            assert_eq!(root.count(), 0, "its root is empty");
        }
        // The machine is destroyed, and made anew by whom the helper is now.
        assert_eq!(say(&*sandbox, &["probe", "crash"]).await.code(), 128 + 11);
        assert_eq!(say(&*sandbox, &["probe", "exit", "7"]).await.code(), 7);
    }
}

/// The child of this thread's making that was born last.
fn helper_of_this_process() -> rustix::process::Pid {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).expect("read");
    let last = children.split_whitespace().last().and_then(|pid| pid.parse().ok()).expect("a child");
    rustix::process::Pid::from_raw(last).expect("a PID")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_keeps_machines_warm_and_stops_each_after_its_lease() {
    if !has_kvm() {
        return;
    }
    let pool = Pool::new(Arc::new(backend()), PoolSettings::default()).expect("a pool");
    let spec = spec(Image::Rootfs(root()), 128);
    let key = pool.poolable(&spec).expect("it can be kept");
    pool.set_target(&key, 1..=1).expect("a target");
    let warm = async {
        while pool.stats().keys.iter().all(|key| key.warm == 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, warm).await.expect("one is warm");
    let lease = pool.acquire(&spec).await.expect("leased");
    assert!(matches!(lease.origin, Origin::Warm { .. }), "{:?}", lease.origin);
    assert_eq!(say(lease.sandbox(), &["probe", "write", "/tmp/left"]).await.text(), "write: works");
    lease.stop().await.expect("stopped");
    pool.shutdown().await.expect("shut down");
}
