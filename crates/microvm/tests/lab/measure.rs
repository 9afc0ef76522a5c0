//! What a machine costs, as ratios: on an emulated host no time means anything by itself. By hand, with a release build:
//! `scripts/kvm-lab --with FOLDER_OF_FIRECRACKER:/opt/firecracker … -- target/release/deps/lab-… --ignored --nocapture measure`,
//! as `scripts/bench/all --lab` does it.

use std::time::{Duration, Instant};

use agentkernel_core::{Backend as _, Sandbox};
use agentkernel_microvm::MicrovmBackend;

use crate::rig::{Rig, rig, said};

const BOOTS: usize = 7;
const COMMANDS: usize = 60;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// From nothing to what a first command says.
async fn begun(backend: &MicrovmBackend) -> (Duration, Box<dyn Sandbox>) {
    let began = Instant::now();
    let sandbox = backend.boot(&Rig::spec()).await.expect("booted").sandbox;
    assert_eq!(said(&*sandbox, "echo first").await, "first");
    (began.elapsed(), sandbox)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run it by hand with --release"]
async fn measure() {
    let Some(rig) = rig() else { return };
    let (whole, kept) = (rig.backend(false), rig.backend(true));
    // The first one makes the snapshot.
    begun(&kept).await.1.stop().await.expect("stopped");
    let (mut booted, mut restored, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        for (backend, times) in [(&whole, &mut booted), (&kept, &mut restored)] {
            let (took, sandbox) = begun(backend).await;
            times.push(took);
            sandbox.stop().await.expect("stopped");
        }
    }
    let (_, sandbox) = begun(&kept).await;
    for _ in 0..COMMANDS {
        let began = Instant::now();
        assert_eq!(said(&*sandbox, "echo again").await, "again");
        commands.push(began.elapsed());
    }
    sandbox.stop().await.expect("stopped");
    let (booted, restored, command) = (median(booted), median(restored), median(commands));
    println!("firecracker: booted until a first command has ended, n {BOOTS}: {booted:.2} s");
    println!("firecracker: of a snapshot, n {BOOTS}: {restored:.3} s, 1/{:.1} of it", booted / restored);
    println!(
        "firecracker: a command in a running one, n {COMMANDS}: {command:.3} s, 1/{:.0}",
        booted / command
    );
}
