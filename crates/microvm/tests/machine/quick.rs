//! Machines that take no time: what a start costs beside them is ours. The VMM is a small program that runs the guest agent
//! in the guest's place.

mod bare;

use std::path::PathBuf;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use agentkernel_core::{
    Backend as _, Command, ExitStatus, Image, Profile, Sandbox, SandboxName, SandboxSpec,
};
use agentkernel_link::GUEST;
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings};
use agentkernel_testkit::{listen, random_u64, tool_or_skip};

use crate::faults::{Host, snapshots};
use crate::root::root;
use bare::Bare;

/// Starts of each kind that are measured, in turn.
const STARTS: usize = 150;

/// What it says of itself: one that has all that we use of a new one.
const VERSION: &str = "1.14.0";

/// The program, compiled, with the guest agent in it.
fn compiled() -> Option<Vec<u8>> {
    let compiler = tool_or_skip("gcc")?;
    let folder = tempfile::tempdir().expect("a folder");
    let (guest, program) = (folder.path().join("guest"), folder.path().join("firecracker"));
    std::fs::write(&guest, GUEST).expect("written");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machine/quick_firecracker.c");
    #[expect(clippy::disallowed_methods, reason = "a compiler that was found on the path")]
    let done = Process::new(compiler)
        .args(["-O2", "-static", "-Wall", "-Wextra", "-Werror"])
        .arg(format!("-DGUEST=\"{}\"", guest.display()))
        .arg(format!("-DVERSION=\"{VERSION}\""))
        .arg("-o")
        .args([program.as_os_str(), source.as_ref()])
        .output()
        .expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(std::fs::read(program).expect("read"))
}

async fn host() -> Option<Host> {
    Host::of("firecracker", compiled()?, "").await
}

fn backend(host: &Host, snapshots: bool) -> MicrovmBackend {
    MicrovmBackend::firecracker(MicrovmSettings { snapshots, hardware: || Ok(()), ..host.settings() })
}

/// One of a small root, as those that are measured elsewhere have.
fn spec(root: PathBuf) -> SandboxSpec {
    let name = SandboxName::from_random(random_u64());
    SandboxSpec::builder(name, Profile::Restrictive).image(Image::Rootfs(root)).build().expect("sound")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_a_machine_that_takes_no_time_booted_and_of_a_snapshot() {
    let (Some(host), Some(root)) = (host().await, root()) else { return };
    for (is_kept, files) in [(false, 0), (true, 3), (true, 3)] {
        let booted = backend(&host, is_kept).boot(&spec(root.clone())).await.expect("booted");
        // It is a process of the host: no folder of ours is there.
        let mut command = Command::new(["true"]);
        command.cwd = Some(b"/".to_vec());
        let said = listen(booted.sandbox.exec(&command).await.expect("started")).await.expect("heard");
        assert_eq!(said.exited.status, ExitStatus::Code(0));
        let posture = booted.sandbox.posture().await.expect("read");
        assert!(posture.holds(), "{posture:?}");
        booted.sandbox.stop().await.expect("stopped");
        assert_eq!(snapshots(&host).len(), files);
    }
    let left = std::fs::read_dir(host.path("home/machines/firecracker")).expect("listed").count();
    assert_eq!(left, 0, "a folder is left");
}

/// How long it took until the agent had answered, by us.
async fn begun(backend: &MicrovmBackend, spec: &SandboxSpec) -> (Duration, Box<dyn Sandbox>) {
    let began = Instant::now();
    let sandbox = backend.boot(spec).await.expect("booted").sandbox;
    (began.elapsed(), sandbox)
}

// One thread, as `agentkernel run` has.
#[tokio::test]
#[ignore = "measures; run it by hand with --release"]
async fn measure_our_own_part_of_a_start() {
    let (Some(host), Some(root), Some(setpriv)) = (host().await, root(), tool_or_skip("setpriv")) else {
        return;
    };
    let setpriv = setpriv.display().to_string();
    // What confines a VMM of ours, without a group and descriptors: the rest of what we take is our own.
    let confined = [&["/bin/sh", "-c", "exec \"$@\"", "sh", &*setpriv], rights().as_slice()].concat();
    let backends = [backend(&host, false), backend(&host, true)];
    // The first one makes the snapshot.
    begun(&backends[1], &spec(root.clone())).await.1.stop().await.expect("stopped");
    let bares = [Bare::new(&host, &[]).await, Bare::new(&host, &confined).await];
    let mut times: [[Vec<Duration>; 3]; 2] = Default::default();
    for _ in 0..STARTS {
        for ((backend, of_a_snapshot), [ours, theirs @ ..]) in
            backends.iter().zip([false, true]).zip(&mut times)
        {
            for (bare, times) in bares.iter().zip(theirs) {
                let (took, machine) = bare.start(of_a_snapshot).await;
                machine.end();
                times.push(took);
            }
            let (took, sandbox) = begun(backend, &spec(root.clone())).await;
            sandbox.stop().await.expect("stopped");
            ours.push(took);
        }
    }
    for (kind, times) in ["booted", "of a snapshot"].into_iter().zip(times) {
        let [ours, bare, confined] = times.map(Told::of);
        println!("{kind}, n {STARTS}: ours {ours}");
        for (whose, told) in [("a bare client", bare), ("one that starts it by sh and setpriv", confined)] {
            println!(
                "    {whose} {told}: ours + {:.2}, {:.2} \u{d7}",
                ours.p50 - told.p50,
                ours.p50 / told.p50
            );
        }
    }
}

/// What our VMMs are started with, in the words of setpriv.
fn rights() -> Vec<&'static str> {
    let all = ["--pdeathsig", "KILL", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"];
    // Any that is nobody's: the ids of our own are drawn from below that.
    let user = ["--reuid=2147483000", "--regid=2147483000", "--clear-groups"];
    let user = user.into_iter().filter(|_| rustix::process::geteuid().is_root());
    all.into_iter().chain(user).chain(["--"]).collect()
}

/// Milliseconds.
struct Told {
    p50: f64,
    p95: f64,
    least: f64,
}

impl Told {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
        Self { p50: at(50), p95: at(95), least: at(0) }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "p50 {:.2} p95 {:.2} least {:.2} ms", self.p50, self.p95, self.least)
    }
}
