//! Limits: memory, commands, processors.

use std::time::{Duration, Instant};

use agentkernel_core::{
    Backend as _, ByteSize, Command, ErrorKind, ExitStatus, HostSocket, Image, Limit, Limits, Profile,
    SandboxName, SandboxSpec,
};
use agentkernel_wasm::WasmBackend;
use serde_json::json;

use crate::fixture::{File, LIBRARY, TOOL, backend, called, hear, limits, run, tool};

fn memory(mib: u64) -> Limits {
    Limits { memory: Limit::At(ByteSize::mib(mib)), ..limits() }
}

#[tokio::test]
async fn memory_ends_at_its_limit_and_the_end_says_so() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(memory(8)).await;
    let (heard, exited) = run(&*sandbox, &tool(&["grow"])).await;
    assert_eq!(exited.status, ExitStatus::Signal(6));
    let told = String::from_utf8(heard.stderr).expect("text");
    assert!(told.contains("it had been refused more memory than its limit"), "{told}");
    assert!((7 << 10..=8 << 10).contains(&exited.usage.max_rss_kib), "{}", exited.usage.max_rss_kib);
    let usage = sandbox.usage().await.expect("told");
    assert_eq!(usage.memory_bytes, Some(0), "it went back");
    let stopped = sandbox.stop().await.expect("stops");
    assert_eq!(stopped.out_of_memory_kills, 1);
    assert!(stopped.memory_peak_bytes.is_some_and(|peak| peak <= 8 << 20));
}

#[tokio::test]
async fn a_module_that_wants_more_than_it_may_have_does_not_start() {
    let file = File::of("(module (memory 256) (func (export \"_start\")) (func (export \"f\")))");
    let sandbox = file.sandbox(memory(8)).await;
    let error = sandbox.exec(&tool(&["a"])).await.map(drop).expect_err("16 MiB of 8");
    assert_eq!(error.kind, ErrorKind::CommandNotExecutable);
    let error = called(&*sandbox, "f()").await.expect_err("16 MiB of 8");
    assert!(error.why.contains("memory"), "{error}");
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn the_memory_of_all_calls_counts_together() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(memory(1)).await;
    assert_eq!(called(&*sandbox, "grow(15)").await.expect("returned").values, [json!(1)]);
    assert_eq!(called(&*sandbox, "grow(16)").await.expect("returned").values, [json!(-1)]);
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn commands_are_as_many_as_processes_may_be() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(Limits { pids: Limit::At(2), ..limits() }).await;
    let mut first = sandbox.exec(&tool(&["loop"])).await.expect("starts");
    let _second = sandbox.exec(&tool(&["loop"])).await.expect("starts");
    let error = sandbox.exec(&tool(&["a"])).await.map(drop).expect_err("a third");
    assert_eq!(error.kind, ErrorKind::CommandRefused);
    first.control().signal(9, agentkernel_core::SignalTarget::Process).await.expect("sent");
    hear(first.as_mut()).await;
    assert_eq!(run(&*sandbox, &tool(&["fail"])).await.1.status, ExitStatus::Code(3));
    sandbox.stop().await.expect("stops");
}

/// On two threads two commands could have two processors. With a limit of one they have one together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processors_are_as_many_as_were_given() {
    let file = File::of(TOOL);
    let time = Duration::from_millis(300);
    let sandbox = file.sandbox(Limits { cpus: Limit::At("1".parse().expect("a number")), ..limits() }).await;
    let began = Instant::now();
    let spin = Command { timeout: Some(time), ..tool(&["loop"]) };
    tokio::join!(run(&*sandbox, &spin), run(&*sandbox, &spin));
    let (used, passed) = (sandbox.usage().await.expect("told").cpu.expect("known"), began.elapsed());
    assert!(used <= passed.mul_f64(1.1), "{used:?} of {passed:?}");
    assert!(used > Duration::ZERO);
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_by_name() {
    let file = File::of(TOOL);
    let builder =
        || SandboxSpec::builder(SandboxName::from_random(7), Profile::Restrictive).image(file.image());
    let half = Limits { cpus: Limit::At("0.5".parse().expect("a number")), ..limits() };
    let socket = HostSocket::new("/run/x".as_ref(), "x").expect("a socket");
    for (spec, name) in [
        (builder().limits(half), "cpus 0.5"),
        (builder().mount("/srv:/data".parse().expect("a mount")), "mount /srv"),
        (builder().host_socket(Some(socket)), "unix socket"),
        (builder().image(Image::Host), "image"),
    ] {
        let refused = backend().boot(&spec.build().expect("valid")).await.map(drop).expect_err(name);
        assert_eq!((refused.kind, refused.subject.as_str()), (ErrorKind::ControlRefused, name));
    }
}

#[tokio::test]
async fn the_posture_is_tried_and_holds() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(memory(16)).await;
    let posture = sandbox.posture().await.expect("tried");
    assert!(posture.holds(), "{:?}", posture.broken().collect::<Vec<_>>());
    let memory = posture.controls.iter().find(|control| control.name == "wasm.memory").expect("a control");
    assert_eq!(memory.actual, "256 pages, and no more");
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn more_instances_than_there_are_places_for_are_refused_and_places_come_back() {
    let file = File::of(TOOL);
    let small = WasmBackend::new(None).for_one();
    let sandbox = small.boot(&file.spec(limits())).await.expect("boots").sandbox;
    let mut running = Vec::new();
    let refused = loop {
        match sandbox.exec(&tool(&["loop"])).await {
            Ok(process) => running.push(process),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind, running.len()), (ErrorKind::Host, 4), "{refused}");
    assert_eq!(called(&*sandbox, "_start()").await.expect_err("full").kind, ErrorKind::Host);
    let control = running[0].control();
    control.signal(9, agentkernel_core::SignalTarget::Process).await.expect("sent");
    hear(running[0].as_mut()).await;
    assert_eq!(run(&*sandbox, &tool(&["fail"])).await.1.status, ExitStatus::Code(3));
    sandbox.stop().await.expect("stops");
}
