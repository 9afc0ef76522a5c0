use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use agentkernel_core::{Booted, ByteSize, Capabilities, Command, OutputStream, Profile, SandboxSpec};
use agentkernel_testkit::FakeBackend;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::run::{self, RunIo, RunOutput, RunRequest, run};

/// A backend that is or is not available, never boots, and counts how often it was probed.
struct Probed {
    available: bool,
    probes: AtomicUsize,
}

impl Probed {
    fn new(available: bool) -> Arc<Self> {
        Arc::new(Self { available, probes: AtomicUsize::new(0) })
    }

    fn probes(&self) -> usize {
        self.probes.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Backend for Probed {
    fn kind(&self) -> BackendKind {
        BackendKind::Oci
    }

    fn capabilities(&self) -> Capabilities {
        FakeBackend::new().capabilities()
    }

    async fn probe(&self) -> Availability {
        self.probes.fetch_add(1, Ordering::Relaxed);
        if self.available {
            Availability::Available { facts: Vec::new() }
        } else {
            Availability::Unavailable { needs: "a moon".into(), hint: "install-moon".into() }
        }
    }

    async fn boot(&self, _spec: &SandboxSpec) -> Result<Booted> {
        Err(Error::new(ErrorKind::Boot, "start the sandbox", "it has no moon"))
    }
}

fn spec(emulate: bool) -> SandboxSpec {
    let name = run::random_name().expect("a name");
    SandboxSpec::builder(name, Profile::Restrictive).emulate(emulate).build().expect("sound")
}

#[tokio::test]
async fn only_a_machine_is_emulated_and_the_choice_says_what_that_is() {
    let registry = Registry::of(vec![Probed::new(true)]);
    for request in [BackendRequest::Auto, BackendRequest::Named(BackendKind::Oci)] {
        let error = registry.choose(request, &spec(true)).await.expect_err("refused");
        assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::Usage, "--emulate"));
    }
    let named = BackendRequest::Named(BackendKind::Qemu);
    let reason = registry.choose(named, &spec(true)).await.expect("chosen").reason;
    assert_eq!(reason, "named; emulated: not a security boundary");
    assert_eq!(registry.choose(named, &spec(false)).await.expect("chosen").reason, "named");
}

#[tokio::test]
async fn backends_are_probed_only_where_there_is_a_choice_and_only_until_one_works() {
    let only = Probed::new(false);
    let spec = spec(false);
    let chosen = Registry::of(vec![only.clone()]).choose(BackendRequest::Auto, &spec).await.expect("chosen");
    assert_eq!((chosen.backend, only.probes()), (BackendKind::Oci, 0));

    let (first, second) = (Probed::new(true), Probed::new(true));
    let registry = Registry::of(vec![first.clone(), second.clone()]);
    registry.choose(BackendRequest::Auto, &spec).await.expect("chosen");
    assert_eq!((first.probes(), second.probes()), (1, 0));

    let broken = Registry::of(vec![Probed::new(false), Arc::new(FakeBackend::new())]);
    let Choice { backend, reason } = broken.choose(BackendRequest::Auto, &spec).await.expect("chosen");
    assert_eq!(backend, BackendKind::Fake);
    assert!(reason.contains("oci needs a moon"), "{reason}");
}

/// Where nothing is ever written.
struct NoOutput;

#[async_trait]
impl RunOutput for NoOutput {
    async fn write(&mut self, _stream: OutputStream, _bytes: Bytes) -> io::Result<()> {
        Err(io::Error::other("nothing runs"))
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_boot_that_fails_is_the_answer_and_points_to_doctor() {
    let registry = Registry::of(vec![Probed::new(false)]);
    let name = run::random_name().expect("a name");
    let request = RunRequest {
        backend: BackendRequest::Auto,
        spec: SandboxSpec::builder(name, Profile::Restrictive).build().expect("valid"),
        command: Command::new(["true"]),
        output_limit: ByteSize::mib(1),
        began: Instant::now(),
    };
    let (_sender, signals) = mpsc::channel(1);
    let io = RunIo { stdin: None, output: &mut NoOutput, signals };
    let error = run(&registry, &request, io).await.expect_err("refused");
    assert_eq!(error.to_string(), "start the sandbox: it has no moon");
    assert!(error.hint.is_some_and(|hint| hint.contains("agentkernel doctor")));
}
