//! Machines of a real QEMU, emulated: what is shared with hardware is all but the processor.

mod conformance;
mod faults;
mod firecracker;
mod fixture;
mod forks;
mod past;
mod posture;
mod quick;
mod root;
mod snapshots;
mod warmed;

use std::time::Instant;

use agentkernel_core::{Backend as _, ExitStatus};

use fixture::fixture;
use past::said;

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_a_guest_frees_is_the_hosts_again() {
    let Some(fixture) = fixture().await else { return };
    past::give_memory_back(&past::Maker { backend: &fixture.backend, spec: &|| fixture.spec() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_a_machine_with_a_kernel_of_its_own() {
    let Some(fixture) = fixture().await else { return };
    let began = Instant::now();
    let booted = fixture.backend.boot(&fixture.spec().build().expect("sound")).await.expect("booted");
    println!("boot {:?}, ready {:?}, {:?} in all", booted.boot, booted.ready, began.elapsed());
    let sandbox = booted.sandbox;
    let hello = said(&*sandbox, &["echo", "hello"]).await;
    assert_eq!((hello.exited.status, hello.text().as_str()), (ExitStatus::Code(0), "hello"));
    let kernel = said(&*sandbox, &["cat", "/proc/sys/kernel/osrelease"]).await.text();
    let ours = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read");
    assert_ne!(kernel, ours, "the kernel is the host's");
    // What happens at a limit hardly tells a group's from that of a machine that is little larger.
    let group = said(&*sandbox, &["cat", "/proc/self/cgroup"]).await.text();
    assert_eq!(group, "0::/all/commands");
    let posture = sandbox.posture().await.expect("read");
    assert!(posture.holds(), "{posture:?}");
    sandbox.stop().await.expect("stopped");
    assert_eq!(std::fs::read_dir(fixture.runtime.path().join("microvm")).expect("listed").count(), 0);
}
