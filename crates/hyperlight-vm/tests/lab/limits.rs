//! What a machine may use, and what is refused by its name before it is made.

use std::path::Path;

use agentkernel_core::{
    Access, Backend as _, BindMount, ErrorKind, ExitStatus, Image, Limit, Limits, OutputStream, ProcessEvent,
    Profile, SandboxSpec,
};

use crate::rig::{backend, command, has_kvm, probing, root, say, spec};

#[tokio::test]
async fn memory_ends_where_it_was_said_to() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    let modest = say(&*sandbox, &["probe", "memory", "24"]).await;
    assert_eq!(modest.text(), "24", "it has 128 MiB: {modest:?}");
    let greedy = say(&*sandbox, &["probe", "memory", "128"]).await;
    assert_eq!(greedy.exited.status, ExitStatus::Signal(9), "{greedy:?}");
    assert_eq!(say(&*sandbox, &["probe", "exit", "4"]).await.code(), 4, "the next one lives");
}

#[tokio::test]
async fn output_that_nobody_takes_stops_its_command_and_none_of_it_is_lost() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    let mut process = sandbox.exec(&command(&["probe", "output", "3000000"])).await.expect("it starts");
    let mut count = 0;
    loop {
        match process.next().await.expect("it says something") {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => count += bytes.len(),
            ProcessEvent::Exited(exited) => break assert!(exited.status.is_success(), "{exited:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, 3_000_000);
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_by_its_name() {
    if !has_kvm() {
        return;
    }
    let refused = async |spec: SandboxSpec, name: &str| {
        let error = backend().boot(&spec).await.err().expect("refused");
        assert_eq!(error.kind, ErrorKind::ControlRefused, "{error}");
        assert!(error.subject.contains(name) && error.hint.is_some(), "{error}");
    };
    refused(spec(Image::Host, 32), "memory").await;
    refused(spec(Image::Host, 16 << 10), "memory").await;
    let built = |limits: Limits| {
        let name = "lab".parse().expect("a name");
        SandboxSpec::builder(name, Profile::Restrictive).limits(limits).build().expect("a description")
    };
    let limits = Limits::of(Profile::Restrictive);
    refused(built(Limits { memory: Limit::Unlimited, ..limits }), "memory").await;
    refused(built(Limits { cpus: Limit::At("0.5".parse().expect("half of one")), ..limits }), "cpus").await;
    let mount = BindMount::new(Path::new("/usr"), Path::new("/data"), Access::ReadOnly).expect("a mount");
    let name = "lab".parse().expect("a name");
    let mounted =
        SandboxSpec::builder(name, Profile::Restrictive).mount(mount).build().expect("a description");
    refused(mounted, "/usr").await;
    refused(spec(Image::Rootfs(root().join("none")), 128), "none").await;
}
