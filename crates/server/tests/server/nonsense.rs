//! A guest agent that says what makes no sense: its sandbox is destroyed, and whoever waited is told why.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentkernel_api::ShutdownMode;
use agentkernel_core::{Availability, Backend, BackendKind, Booted, Capabilities, Result, SandboxSpec};
use agentkernel_link::{ExecDefaults, LinkedSandbox};
use agentkernel_protocol::ToHost;
use agentkernel_testkit::FakeBackend;
use async_trait::async_trait;
use serde_json::json;

use crate::daemon::{Daemon, command, create, folder, run, settings, until};

#[path = "../../../link/tests/fake/fake_boundary.rs"]
#[expect(dead_code, reason = "the tests of the link use the rest")]
mod fake_boundary;
#[path = "../../../link/tests/fake/fake_guest.rs"]
#[expect(dead_code, reason = "the tests of the link use the rest")]
mod fake_guest;

use fake_boundary::{FakeBoundary, Remote};
use fake_guest::{FakeGuest, exited, hello, stdout};

/// What the guest says when it is asked to start a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// The first words of the greeting are noise already.
    NoGreeting,
    /// Bytes that are no frame.
    Noise,
    /// A frame that says it is four gigabytes long.
    Endless,
    /// Output of a command that nobody started.
    OfNobody,
    /// Its end, before its beginning.
    EndFirst,
    /// Its beginning twice.
    BeginningTwice,
    /// More output than there is room for.
    Flood,
}

const LIES: [Lie; 7] = [
    Lie::NoGreeting,
    Lie::Noise,
    Lie::Endless,
    Lie::OfNobody,
    Lie::EndFirst,
    Lie::BeginningTwice,
    Lie::Flood,
];

/// Bytes that are neither text nor frames.
const NOISE: [u8; 512] = [0xa5; 512];

/// Boots guests that lie, behind boundaries that remember what was done to them.
struct Liars {
    lie: Lie,
    boundaries: Mutex<Vec<Remote>>,
}

impl Liars {
    fn new(lie: Lie) -> Arc<Self> {
        Arc::new(Self { lie, boundaries: Mutex::default() })
    }

    /// Whether there were any, and each of them was stopped and is gone.
    fn are_gone(&self) -> bool {
        let boundaries = self.boundaries.lock().expect("not poisoned");
        let is_gone = |remote: &Remote| remote.fate().stopped && remote.fate().dropped;
        !boundaries.is_empty() && boundaries.iter().all(is_gone)
    }
}

#[async_trait]
impl Backend for Liars {
    fn kind(&self) -> BackendKind {
        BackendKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        let adopt = false;
        Capabilities { adopt, ..FakeBackend::new().capabilities() }
    }

    async fn probe(&self) -> Availability {
        Availability::Available { facts: Vec::new() }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let ((guest, stream), (boundary, remote)) = (FakeGuest::new(), FakeBoundary::new());
        self.boundaries.lock().expect("not poisoned").push(remote);
        tokio::spawn(lie(guest, self.lie));
        let attached = LinkedSandbox::attach(spec, boundary, stream, hello(), ExecDefaults::default()).await;
        Ok(Booted { sandbox: Box::new(attached?.0), boot: began.elapsed(), ready: Duration::ZERO })
    }
}

/// The life of a guest, until the host hangs up.
async fn lie(mut guest: FakeGuest, lie: Lie) {
    if lie == Lie::NoGreeting {
        guest.hear_hello().await;
        guest.try_say_bytes(&NOISE).await;
    } else {
        guest.greet().await;
        let (channel, _) = guest.hear_start().await;
        match lie {
            Lie::NoGreeting | Lie::Noise => drop(guest.try_say_bytes(&NOISE).await),
            Lie::Endless => drop(guest.try_say_bytes(&[0xff; 16]).await),
            Lie::OfNobody => guest.say(channel + 2, stdout(1)).await,
            Lie::EndFirst => guest.say(channel, exited(0)).await,
            Lie::BeginningTwice => {
                guest.say(channel, ToHost::Started(7)).await;
                guest.say(channel, ToHost::Started(7)).await;
            }
            Lie::Flood => {
                guest.say(channel, ToHost::Started(7)).await;
                let mut frame = bytes::BytesMut::new();
                agentkernel_protocol::encode(channel, &stdout(32 << 10), &mut frame).expect("a frame");
                while guest.try_say_bytes(&frame).await {}
            }
        }
    }
    while guest.try_hear().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_answers_nonsense_is_a_typed_error_and_its_sandbox_is_destroyed() {
    for lie in LIES {
        let folder = folder();
        let liars = Liars::new(lie);
        let fake = Arc::new(FakeBackend::new());
        let daemon = Daemon::of(settings(folder.path()), liars.clone(), fake).await.expect("it serves");
        let client = daemon.client();
        // One that is not read to its end is under way when the lie comes.
        let reply = client.post("/v1/runs", run(&["sleep", "1000"])).await;
        let error = reply.refused(502, "protocol_broken");
        assert_eq!(error["sandbox"], json!(null), "{lie:?}: {error}");
        until("it is destroyed", async || liars.are_gone()).await;
        client.get("/v1/health").await.expect(200);
        if lie != Lie::NoGreeting {
            create(&client, json!({"name": "web"})).await;
            client.post("/v1/sandboxes/web/exec", command(&["true"])).await.refused(502, "protocol_broken");
            until("it has ended", async || client.get("/v1/sandboxes/web").await.status == 410).await;
            let gone = client.get("/v1/sandboxes/web").await.refused(410, "gone");
            assert_eq!(gone["sandbox"]["cause"], "boundary_crashed", "{lie:?}: {gone}");
            assert!(liars.are_gone(), "{lie:?}");
        }
        until("nothing lives", async || client.get("/v1/sandboxes").await.json()["sandboxes"] == json!([]))
            .await;
        daemon.stop(ShutdownMode::Kill).await;
    }
}
