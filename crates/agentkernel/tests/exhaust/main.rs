//! The attacks on resources, in sandboxes with low limits, while a sibling and the host are watched. Alone
//! in their program and one after the other: they count what is on the host.

mod attacks;
#[path = "../boundary/host.rs"]
mod host;
mod judge;
mod measure;
mod oracle;
#[path = "../boundary/probe.rs"]
mod probe;
#[path = "../boundary/support.rs"]
#[expect(dead_code, reason = "the other tests of the boundary use the rest")]
mod support;
mod victim;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentkernel_core::{Availability, Backend as _, Sandbox};
use agentkernel_oci::plan::Plan;
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{TestEnvironment, available_or_skip, tool_or_skip};
use tokio::sync::watch;

use attacks::{ATTACKS, Attack, Control, MEMORY_MIB, OPEN_FILES, PIDS};
use oracle::{Given, Oracle, Seen};
use support::{Fixture, PROGRAM, fixture, fixture_by, spec, spec_with};
use victim::{Told, aftermath, suffer};

/// Whose turn it is.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How long the kernel may take to remove namespaces after their last process has gone.
const SETTLE: Duration = Duration::from_secs(10);

/// No attack takes longer, on whatever machine; the sibling's own deadline is shorter.
const PATIENCE: Duration = Duration::from_secs(180);

fn attacks() -> impl Iterator<Item = &'static Attack> {
    ATTACKS.iter().copied().flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_on_resources_is_in_the_table() {
    let environment = TestEnvironment::new();
    let refused = environment.run(probe::program(), &["exhaust", "?"]).assert_code(2).stderr_text();
    let (_, names) = refused.rsplit_once("there are ").expect("it says which there are");
    let names: BTreeSet<&str> = names.trim().split(", ").collect();
    assert_eq!(names, attacks().map(|attack| attack.name).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_on_resources_takes_more_than_was_given_or_delays_a_sibling() {
    let _turn = TURN.lock().await;
    let Some(fixture) = fixture().await else { return };
    let sibling = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let mut complaints = Vec::new();
    for attack in attacks() {
        let trial = tokio::time::timeout(PATIENCE, trial(&fixture, &*sibling, attack)).await;
        let found = trial.unwrap_or_else(|_| vec![format!("not over within {PATIENCE:?}")]);
        complaints.extend(found.into_iter().map(|what| format!("{}: {what}", attack.name)));
    }
    sibling.stop().await.expect("stops");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// One attack in a sandbox of its own, and all that is wrong then.
async fn trial(fixture: &Fixture, sibling: &dyn Sandbox, attack: &Attack) -> Vec<String> {
    let spec = spec_with((attack.limits)());
    let marks = Marks::of_this_process().word(spec.name().as_str()).folder(fixture.runtime.path());
    let before = Snapshot::take(&marks);
    let sandbox = fixture.backend.boot(&spec).await.expect("boots").sandbox;
    probe::put_into(&*sandbox).await;
    let init = host::init_of(&host::record(&fixture.runtime, &*sandbox)).pid;
    let pending = judge::pending_signals(init);
    let (told, seen) = watched(attack, &*sandbox, sibling, init).await;
    let mut complaints = seen.complaints();
    let after = aftermath(&*sandbox).await;
    let stopped = sandbox.stop().await;
    println!("{}: {told:?}, then {after:?}, {stopped:?}", attack.name);
    complaints.extend(judge::judge(attack, &told, after, stopped, pending));
    let leaks = before.settled(SETTLE).await;
    if !leaks.is_empty() {
        complaints.push(describe(&leaks));
    }
    complaints
}

/// The attack, with the oracle beside it.
async fn watched(attack: &Attack, sandbox: &dyn Sandbox, sibling: &dyn Sandbox, init: i32) -> (Told, Seen) {
    let given = Given {
        memory_mib: MEMORY_MIB,
        pids: PIDS.into(),
        // One process does it; the hard limit is four times the soft one.
        open_files: u64::from(OPEN_FILES) * 4,
    };
    let oracle = Oracle::new(sibling, init, given);
    let (rounds, heard) = watch::channel(0);
    let is_over = AtomicBool::new(false);
    let attacking = async {
        let told = suffer(sandbox, attack, attack.words, heard).await;
        is_over.store(true, Ordering::Relaxed);
        told
    };
    tokio::join!(attacking, oracle.watch(&is_over, &rounds))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attack_on_resources_goes_on_where_nothing_stops_it() {
    let _turn = TURN.lock().await;
    let mut blind = Vec::new();
    for attack in attacks() {
        let told = match &attack.control {
            Control::Plan { words, change } => with_plan(attack, words, *change).await,
            Control::PendingSignals => with_pending_signals(attack).await,
            Control::Elsewhere(place) => {
                println!("{}: {place}", attack.name);
                continue;
            }
        };
        // None after a loud skip.
        let Some(told) = told else { continue };
        println!("{}: {:?}", attack.name, told.last);
        if !judge::went_on(attack, &told) {
            blind.push(format!("{}: {told:?}", attack.name));
        }
    }
    assert!(blind.is_empty(), "these were stopped all the same:\n{}", blind.join("\n"));
}

async fn with_plan(attack: &Attack, words: &str, change: fn(&mut Plan)) -> Option<Told> {
    Some(weakly(attack, words, fixture().await?.weakened(change)).await)
}

/// The limit on pending signals is that of whoever starts the program. With a low one the attack ends at
/// it, and with the host's own it does not.
async fn with_pending_signals(attack: &Attack) -> Option<Told> {
    const LOW: u64 = 1000;
    let words = format!("--count {}", LOW * 5);
    let own = i32::try_from(std::process::id()).expect("a PID");
    if !is_above(judge::pending_signals(own), LOW * 6) {
        return None;
    }
    let prlimit = tool_or_skip("prlimit")?;
    // The soft limit alone, which is what counts: a sandbox that is tried first gets its own, which may be more.
    let option = format!("--sigpending={LOW}:");
    let low = fixture_by(&prlimit, &[&option, PROGRAM, "zygote"]).await?.weakened(as_the_caller);
    let told = weakly(attack, &words, low).await;
    assert!(judge::is_refused(&told, attacks::EAGAIN, LOW), "{}: {told:?}", attack.name);
    Some(weakly(attack, &words, fixture().await?.weakened(as_the_caller)).await)
}

fn as_the_caller(plan: &mut Plan) {
    attacks::drop_rlimit(plan, "RLIMIT_SIGPENDING");
}

fn is_above(limit: u64, wanted: u64) -> bool {
    let availability = if limit > wanted {
        Availability::Available { facts: Vec::new() }
    } else {
        let needs = format!("a limit of more than {wanted} pending signals, here are {limit}");
        Availability::Unavailable { needs, hint: "ulimit -i, or a host with more memory".into() }
    };
    available_or_skip("sigpending", &availability)
}

async fn weakly(attack: &Attack, words: &str, fixture: Fixture) -> Told {
    let sandbox = fixture.backend.boot(&spec_with((attack.limits)())).await.expect("boots").sandbox;
    probe::put_into(&*sandbox).await;
    let (_rounds, heard) = watch::channel(usize::MAX);
    let told = suffer(&*sandbox, attack, words, heard).await;
    sandbox.stop().await.expect("stops");
    told
}
