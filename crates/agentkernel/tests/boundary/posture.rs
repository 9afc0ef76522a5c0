//! The posture of a live sandbox, and the proof that it is not blind: each control is taken away once,
//! and must be the one that is reported.

mod changes;
mod gvisor;
mod intruder;
mod places;
mod sibling;
mod sweep;
mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use agentkernel_core::{Availability, Backend as _, Command, Error, ErrorKind, Posture, Sandbox};
use agentkernel_oci::plan::Plan;
use agentkernel_oci::{Record, RuntimeDir};
use agentkernel_testkit::{TestEnvironment, available_or_skip, tool_or_skip};

use crate::host;
use crate::support::{Fixture, fixture, runtime_below, spec};
use intruder::Intruder;
use sibling::Sibling;
use table::{Away, ELSEWHERE, EXCEPTIONS, Row, TABLE};

#[tokio::test]
async fn every_control_of_a_live_sandbox_holds() {
    let Some(fixture) = fixture().await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let posture = sandbox.posture().await.expect("readable");
    assert!(posture.controls.len() >= 30, "{} controls", posture.controls.len());
    assert!(posture.holds(), "{:#?}", posture.broken().collect::<Vec<_>>());
    sandbox.stop().await.expect("stops");
}

/// Controls of a live sandbox that nobody has seen fail, and failures of controls that it has not; `elsewhere` are those
/// that only some hosts have.
async fn unseen(fixture: Fixture, table: &[&[Row]], exceptions: &[(&str, &str)]) -> Vec<String> {
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let posture = sandbox.posture().await.expect("readable");
    sandbox.stop().await.expect("stops");
    let rows = table.iter().copied().flatten();
    let covered: BTreeSet<&str> =
        rows.map(|row| row.control).chain(exceptions.iter().map(|(control, _)| *control)).collect();
    let reported: BTreeSet<&str> = posture.controls.iter().map(|control| control.name.as_str()).collect();
    let is_elsewhere = |control: &&&str| ELSEWHERE.iter().any(|(name, _)| name == *control);
    let uncovered = reported.difference(&covered).map(|control| format!("nobody has seen {control} fail"));
    let unknown = covered.difference(&reported).filter(|control| !is_elsewhere(control));
    uncovered.chain(unknown.map(|control| format!("there is no control {control}"))).collect()
}

#[tokio::test]
async fn every_control_that_can_be_reported_has_its_negative_control() {
    let Some(fixture) = fixture().await else { return };
    assert_eq!(unseen(fixture, TABLE, EXCEPTIONS).await, Vec::<String>::new());
}

/// What came of taking a control away.
enum Found {
    /// These do not hold.
    Reported(Vec<String>),
    /// The sandbox did not start.
    Refused(Error),
}

impl Found {
    fn of(posture: &Posture) -> Self {
        Self::Reported(posture.broken().map(|control| control.name.clone()).collect())
    }

    /// What is wrong with it, if anything is.
    fn complaint(&self, row: &Row) -> Option<String> {
        let Row { control, how, consequences, refusal, .. } = row;
        match self {
            Self::Reported(broken) => {
                let is_told = |name: &String| name == control || consequences.contains(&name.as_str());
                let is_named = broken.iter().any(|name| name == control);
                let is_right = is_named && broken.iter().all(is_told);
                (!is_right).then(|| format!("{control} ({how}): {broken:?} was reported"))
            }
            Self::Refused(error) => {
                let kind_fits = matches!(error.kind, ErrorKind::Boot | ErrorKind::ControlRefused);
                let is_named = refusal.iter().any(|word| error.to_string().contains(word));
                (!(kind_fits && is_named)).then(|| format!("{control} ({how}): refused: {error}"))
            }
        }
    }
}

#[tokio::test]
async fn each_missing_control_is_reported_by_its_name() {
    let complaints = unreported(TABLE, async || fixture().await).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is wrong with what is reported when controls are taken away.
async fn unreported(table: &[&[Row]], fixture: impl AsyncFn() -> Option<Fixture>) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in table.iter().copied().flatten() {
        let Some(fixture) = fixture().await else { return Vec::new() };
        let Some(found) = take_away(&row.away, fixture).await else { continue };
        match &found {
            Found::Reported(broken) => println!("{}: {}: reported {broken:?}", row.control, row.how),
            Found::Refused(error) => println!("{}: {}: refused: {error}", row.control, row.how),
        }
        complaints.extend(found.complaint(row));
    }
    complaints
}

/// What is reported above ends the start of a sandbox that nobody wanted to be weaker.
#[tokio::test]
async fn a_start_without_a_control_is_refused_by_its_name_and_leaves_nothing() {
    let complaints = handed_out(TABLE, async || fixture().await).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is wrong with how starts without a control are refused.
async fn handed_out(table: &[&[Row]], fixture: impl AsyncFn() -> Option<Fixture>) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in table.iter().copied().flatten() {
        let Away::Plan(change) = &row.away else { continue };
        let Some(fixture) = fixture().await else { return Vec::new() };
        let fixture = fixture.weakened(*change).strict();
        let Some(error) = fixture.backend.boot(&spec()).await.err() else {
            complaints.push(format!("{} ({}): it was handed out", row.control, row.how));
            continue;
        };
        let words = row.refusal.iter().chain(row.consequences).chain([&row.control]);
        let is_named = words.into_iter().any(|word| error.to_string().contains(word));
        let left = std::fs::read_dir(fixture.runtime.path().join("sandboxes")).expect("a folder").count();
        if !(is_named && left == 0) {
            complaints.push(format!("{} ({}): {error}; {left} records left", row.control, row.how));
        }
    }
    complaints
}

/// `None` after a loud skip.
async fn take_away(away: &Away, fixture: Fixture) -> Option<Found> {
    if let Away::Plan(change) = away {
        return Some(without(fixture, *change).await);
    }
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let record = host::record(&fixture.runtime, &*sandbox);
    let posture = match away {
        Away::SharedWithASibling(kind) => shared(kind, &record).await,
        Away::SomethingIsOpen(what) => with_something_open(&*sandbox, record, what).await,
        Away::FromTheHost(option, words) => match in_its(&record, option, words) {
            Some(()) => Some(sandbox.posture().await.expect("readable")),
            None => None,
        },
        Away::CalledFromTheHost(call) => match called_in_its_mounts(&record, call) {
            Some(()) => Some(sandbox.posture().await.expect("readable")),
            None => None,
        },
        Away::BesideIt(name, words) => match Intruder::beside(&record, name, words) {
            Some(_intruder) => Some(sandbox.posture().await.expect("readable")),
            None => None,
        },
        Away::GroupIsMissing => Some(without_a_group(&record, &fixture.runtime)),
        Away::MovedOutOfItsGroup => {
            move_out(&record);
            Some(sandbox.posture().await.expect("readable"))
        }
        Away::Plan(_) => unreachable!("done above"),
    };
    sandbox.stop().await.expect("stops");
    posture.map(|posture| Found::of(&posture))
}

async fn without(fixture: Fixture, change: fn(&mut Plan)) -> Found {
    let fixture = fixture.weakened(change);
    let sandbox = match fixture.backend.boot(&spec()).await {
        Ok(booted) => booted.sandbox,
        Err(error) => return Found::Refused(error),
    };
    let posture = sandbox.posture().await.expect("readable");
    sandbox.stop().await.expect("stops");
    Found::of(&posture)
}

async fn shared(kind: &str, record: &Record) -> Option<Posture> {
    let sibling = Sibling::sharing(kind, record).await?;
    Some(record.posture(&sibling.runtime))
}

/// The process is held to what the first one is held to.
async fn with_something_open(sandbox: &dyn Sandbox, mut record: Record, what: &str) -> Option<Posture> {
    tool_or_skip("python3")?;
    let init = host::init_of(&record).pid;
    let program = format!("import select, socket, time; kept = {what}; open('ready', 'w'); time.sleep(1000)");
    let _process = sandbox.exec(&Command::new(["python3", "-c", &program])).await.expect("it starts");
    let began = std::time::Instant::now();
    let is_ready = |pid: &i32| {
        *pid != init && std::fs::exists(format!("/proc/{pid}/root/workspace/ready")).is_ok_and(|is| is)
    };
    record.init = loop {
        match host::processes_beside(init).into_iter().find(is_ready) {
            Some(pid) => break sibling::process(pid),
            None if began.elapsed() > Duration::from_secs(20) => panic!("{what}: it does not open it"),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let nobody_else = tempfile::tempdir().expect("a folder");
    Some(record.posture(&runtime_below(nobody_else.path())))
}

/// Runs a program in a namespace of the sandbox, with the rights of the host.
fn in_its(record: &Record, option: &str, words: &[&str]) -> Option<()> {
    let program = tool_or_skip("nsenter")?;
    tool_or_skip(words[0])?;
    let environment = TestEnvironment::new();
    let target = host::init_of(record).pid.to_string();
    let mut all = vec!["--target", &target, option];
    all.extend(words);
    environment.run(program, &all).assert_success();
    Some(())
}

/// Calls something in the sandbox's mounts, by a program that has all that it needs before it goes there.
fn called_in_its_mounts(record: &Record, call: &str) -> Option<()> {
    let program = tool_or_skip("python3")?;
    let environment = TestEnvironment::new();
    let target = host::init_of(record).pid.to_string();
    let program_text = format!("{}\nassert {call} == 0, ctypes.get_errno()", intruder::ENTER);
    environment.run(program, &["-c", &program_text, &target, "mnt"]).assert_success();
    Some(())
}

fn without_a_group(record: &Record, runtime: &RuntimeDir) -> Posture {
    let mut json = serde_json::to_value(record).expect("JSON");
    json["expected"]["cgroup"]["path"] = "/agentkernel-that-is-not-there".into();
    let record: Record = serde_json::from_value(json).expect("a record");
    record.posture(runtime)
}

/// Into the root of the hierarchy that counts processes.
fn move_out(record: &Record) {
    let init = host::init_of(record).pid;
    let roots = ["/sys/fs/cgroup/pids/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"];
    let root = roots.into_iter().find(|path| std::path::Path::new(path).exists());
    std::fs::write(root.expect("a hierarchy"), init.to_string()).expect("moved");
}

#[tokio::test]
async fn a_limit_that_does_not_read_back_refuses_the_start() {
    refused_without("memory", |resources| drop(resources.remove("memory"))).await;
    refused_without("cpus", |resources| drop(resources.remove("cpu"))).await;
    refused_without("pids", |resources| drop(resources.remove("pids"))).await;
}

#[tokio::test]
async fn swap_that_is_not_limited_refuses_the_start() {
    let has_swap = std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    let availability = if has_swap {
        Availability::Available { facts: Vec::new() }
    } else {
        Availability::Unavailable { needs: "a host with swap".into(), hint: "swapon".into() }
    };
    if available_or_skip("swap", &availability) {
        refused_without("swap", |resources| {
            resources["memory"].as_object_mut().expect("limits").remove("swap");
        })
        .await;
    }
}

type Resources = serde_json::Map<String, serde_json::Value>;

async fn refused_without(limit: &str, change: fn(&mut Resources)) {
    let Some(fixture) = fixture().await else { return };
    let fixture = fixture
        .weakened(move |plan| change(plan.config["linux"]["resources"].as_object_mut().expect("an object")));
    let error =
        fixture.backend.boot(&spec()).await.err().unwrap_or_else(|| panic!("started without {limit}"));
    assert_eq!(error.kind, ErrorKind::ControlRefused, "{error}");
    assert!(error.why.contains(&format!("'{limit}'")), "{error}");
}
