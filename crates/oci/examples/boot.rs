//! Boots one sandbox and runs a command in it, with the time of each step: for working on the boundary.
use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::*;
use agentkernel_oci::*;

fn main() {
    let zygote = Zygote::fork().expect("zygote");
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("rt");
    rt.block_on(go(zygote));
}

async fn go(zygote: Zygote) {
    let runtime = RuntimeDir::locate(None, None, rustix::process::geteuid().as_raw());
    let backend = OciBackend::new(Arc::new(zygote), runtime);
    let mut limits = Limits::of(Profile::Restrictive);
    if !backend.facts().can_limit() {
        limits.memory = Limit::Unlimited;
        limits.cpus = Limit::Unlimited;
    }
    let spec = SandboxSpec::builder(SandboxName::from_random(7), Profile::Restrictive)
        .limits(limits)
        .build()
        .expect("spec");
    for _ in 0..3 {
        let t = Instant::now();
        let booted = match backend.boot(&spec).await {
            Ok(b) => b,
            Err(e) => {
                eprintln!("{e} {:?}", e.hint);
                return;
            }
        };
        eprintln!("boot {:?} ready {:?}", booted.boot, booted.ready);
        let words: Vec<String> = std::env::args().skip(1).collect();
        let mut process = booted
            .sandbox
            .exec(&Command::new(words.iter().map(|w| w.as_bytes().to_vec())))
            .await
            .expect("exec");
        loop {
            match process.next().await.expect("next") {
                ProcessEvent::Output(_, bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
                ProcessEvent::Exited(e) => {
                    eprintln!("{e:?} at {:?}", t.elapsed());
                    break;
                }
            }
        }
        if std::env::var_os("POSTURE").is_some() {
            for c in booted.sandbox.posture().await.expect("posture").controls {
                println!("{} {} | {} | {}", c.held, c.name, c.expected, c.actual);
            }
        }
        let s = booted.sandbox.stop().await.expect("stop");
        eprintln!("stop at {:?} {s:?}", t.elapsed());
    }
}
