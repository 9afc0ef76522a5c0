//! A guest that holds still while its machine is kept.

use agentkernel_core::{Command, ErrorKind, Sandbox as _, SnapshotName};
use agentkernel_protocol::{ToGuest, ToHost};

use crate::fake_guest::{FakeGuest, soon};
use crate::sandbox::attached;

fn name() -> SnapshotName {
    "kept".parse().expect("a name")
}

/// The guest's part up to the word that it waits for.
async fn hold_and_renew(guest: &mut FakeGuest, evidence: &str) {
    assert_eq!(guest.hear().await, (0, ToGuest::Hold));
    guest.say(0, ToHost::Held(None)).await;
    assert_eq!(guest.hear().await, (0, ToGuest::Renew("the steps".into())));
    guest.say(0, ToHost::Renewed(evidence.into())).await;
}

#[tokio::test]
async fn what_is_asked_meanwhile_waits_until_the_guest_is_renewed() {
    let (mut guest, _remote, sandbox) = attached().await;
    let (name, command) = (name(), Command::new(["true"]));
    let script = async {
        assert_eq!(guest.hear().await, (0, ToGuest::Hold));
        guest.hear_nothing().await;
        guest.say(0, ToHost::Held(None)).await;
        // The command was asked for before this.
        assert_eq!(guest.hear().await, (0, ToGuest::Renew("the steps".into())));
        guest.hear_nothing().await;
        guest.say(0, ToHost::Renewed("fresh".into())).await;
        let (channel, _) = guest.hear_start().await;
        guest.say(channel, ToHost::Started(7)).await;
        let (_, ToGuest::Ping(number)) = guest.hear().await else { panic!("the word that lets it go on") };
        guest.say(0, ToHost::Pong(number)).await;
    };
    let commands = async {
        tokio::task::yield_now().await;
        sandbox.exec(&command).await
    };
    let (kept, process, ()) = joined!(sandbox.snapshot(&name, ""), commands, script);
    kept.expect("kept");
    assert_eq!(process.expect("started").pid(), 7);
}

#[tokio::test]
async fn a_guest_that_cannot_hold_still_goes_on() {
    let (mut guest, _remote, sandbox) = attached().await;
    let name = name();
    let script = async {
        assert_eq!(guest.hear().await, (0, ToGuest::Hold));
        guest.say(0, ToHost::Held(Some("busy".into()))).await;
    };
    let (kept, ()) = joined!(sandbox.snapshot(&name, ""), script);
    assert_eq!(kept.expect_err("refused").why, "the guest agent says: busy");
    let script = async {
        let (_, ToGuest::Ping(number)) = guest.hear().await else { panic!("a ping") };
        guest.say(0, ToHost::Pong(number)).await;
    };
    joined!(sandbox.ping(), script).0.expect("it is there");
}

#[tokio::test]
async fn whoever_stops_waiting_for_a_guest_that_is_held_loses_it() {
    let (mut guest, _remote, sandbox) = attached().await;
    let name = name();
    tokio::select! {
        kept = sandbox.snapshot(&name, "") => panic!("{kept:?}"),
        heard = guest.hear() => assert_eq!(heard, (0, ToGuest::Hold)),
    }
    let error = soon(sandbox.ping()).await.expect_err("nobody may have it");
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::SandboxGone, "it was held and not renewed"));
}

#[tokio::test]
async fn evidence_of_nothing_is_the_boundarys_to_refuse_and_two_do_not_hold_at_once() {
    let (mut guest, _remote, sandbox) = attached().await;
    let name = name();
    let script = async {
        hold_and_renew(&mut guest, "stale").await;
        let (_, ToGuest::Ping(number)) = guest.hear().await else { panic!("the word that lets it go on") };
        guest.say(0, ToHost::Pong(number)).await;
    };
    let second = async {
        tokio::task::yield_now().await;
        sandbox.snapshot(&name, "").await
    };
    let (first, second, ()) = joined!(sandbox.snapshot(&name, ""), second, script);
    assert_eq!(first.expect_err("stale").why, "stale");
    assert_eq!(second.expect_err("one at a time").why, "another snapshot of it is being taken");
}

#[tokio::test]
async fn a_guest_that_speaks_of_it_unasked_has_broken_the_protocol() {
    let (mut guest, _remote, sandbox) = attached().await;
    guest.say(0, ToHost::Renewed("fresh".into())).await;
    let ended = soon(sandbox.ended()).await;
    assert_eq!(ended.detail, "Renewed frame: nobody has held it");
}
