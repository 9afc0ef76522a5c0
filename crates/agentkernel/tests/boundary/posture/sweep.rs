//! Every word of a bundle, taken away or changed one at a time: the posture says so, or the start is refused,
//! or there is a reason why nothing comes of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use agentkernel_core::{Access, Backend as _, BindMount, Profile, SandboxName, SandboxSpec};
use agentkernel_testkit::random_u64;
use serde_json::{Value, json};

use super::{Found, fixture};
use crate::support::Fixture;

/// One change of a bundle.
#[derive(Debug, Clone)]
struct Change {
    /// A JSON pointer.
    at: String,
    /// What is there afterwards, if anything.
    to: Option<Value>,
}

/// Changes of which nothing comes: where, of what, to what, and why. An empty word stands for any.
const NOTHING_COMES_OF_IT: &[(&str, &str, &str, &str)] = &[
    ("/ociVersion", "", "\"1.0.2x\"", "a later version has no other meaning"),
    (
        "/process/noNewPrivileges",
        "",
        "false",
        "whoever loads a filter gives them up: `no_new_privs` reads it back",
    ),
    (
        "/process/capabilities/permitted",
        "",
        "[\"CAP_CHOWN\"]",
        "an exec by who is not root leaves none of them",
    ),
    (
        "/process/rlimits/0/soft",
        "",
        "",
        "the agent's own is the hard one; rule `limits.open_files` reads it inside",
    ),
    ("/linux/resources/memory", "", "536870913", "the kernel keeps whole pages"),
    ("/linux/resources/cpu/period", "", "100001", "less than a thousandth of a processor less"),
    ("/mounts/1/options", "nosuid", "", LOCKED),
    ("/mounts/1/options", "nodev", "", LOCKED),
    ("/mounts/1/options", "noexec", "", LOCKED),
    ("/mounts/2/options", "newinstance", "", "every kernel since 4.7 does so anyway"),
    ("/mounts/3/options", "mode=1777", "", "the kernel's own default"),
    ("/mounts/4/options", "mode=1777", "", "the kernel's own default"),
    ("/mounts/6/options", "nosuid", "", STAGED),
    ("/mounts/6/options", "nodev", "", STAGED),
    ("/mounts/6/options", "ro", "", STAGED),
    ("/mounts/7/options", "nosuid", "", STAGED),
    ("/mounts/7/options", "nodev", "", STAGED),
    ("/mounts/7/options", "rw", "", "what is not read-only is so already"),
    (
        "/mounts/7/destination",
        "",
        "\"/workspace/writex\"",
        "once it runs, it may move what is in its own folders",
    ),
];

const LOCKED: &str = "it is one of the read-only paths, and so without set-id bits, devices and programs";
const STAGED: &str = "the stage's own mount, from which it is taken, is so already";

/// What is in a sandbox with a mount of each kind.
fn spec(folder: &Path) -> SandboxSpec {
    let mount = |place: &str, access| BindMount::new(folder, Path::new(place), access).expect("valid");
    let builder = SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive)
        .mount(mount("/mnt/read", Access::ReadOnly))
        .mount(mount("/workspace/write", Access::ReadWrite));
    builder.build().expect("valid")
}

/// The change that the next sandbox is booted with, and the bundle of the last one before it was changed.
#[derive(Default)]
struct Bench {
    change: Option<Change>,
    bundle: Value,
}

#[tokio::test]
async fn every_word_of_a_bundle_is_read_back_or_refused_if_it_is_another() {
    let Some(fixture) = fixture().await else { return };
    let bench = Arc::new(Mutex::new(Bench::default()));
    let theirs = bench.clone();
    let fixture = fixture.weakened(move |plan| {
        let mut bench = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        bench.bundle = plan.config.clone();
        if let Some(change) = bench.change.take() {
            apply(&mut plan.config, &change);
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let whole = look(&fixture, folder.path()).await;
    assert!(whole.is_noticed().is_none(), "nothing is changed yet: {:?}", whole.is_noticed());
    let bundle = bench.lock().unwrap_or_else(PoisonError::into_inner).bundle.clone();
    let is_other = |change: &Change| change.to.as_ref() != bundle.pointer(&change.at);
    let all: Vec<Change> = changes(&bundle, "").into_iter().filter(is_other).collect();
    assert!(all.len() > 300, "{} changes", all.len());
    let (mut unnoticed, mut reasons) = (Vec::new(), BTreeSet::new());
    for change in &all {
        bench.lock().unwrap_or_else(PoisonError::into_inner).change = Some(change.clone());
        let found = look(&fixture, folder.path()).await;
        println!("{} → {:?}: {:?}", change.at, change.to, found.is_noticed());
        if found.is_noticed().is_some() {
            continue;
        }
        match reason(&bundle, change) {
            Some(reason) => drop(reasons.insert(reason)),
            None => unnoticed.push(format!("{} → {:?}", change.at, change.to)),
        }
    }
    assert!(unnoticed.is_empty(), "nobody says so:\n{}", unnoticed.join("\n"));
    let unused: Vec<_> = NOTHING_COMES_OF_IT.iter().filter(|(.., why)| !reasons.contains(why)).collect();
    assert!(unused.is_empty(), "something comes of these: {unused:?}");
}

async fn look(fixture: &Fixture, folder: &Path) -> Found {
    let sandbox = match fixture.backend.boot(&spec(folder)).await {
        Ok(booted) => booted.sandbox,
        Err(error) => return Found::Refused(error),
    };
    let posture = sandbox.posture().await.expect("readable");
    sandbox.stop().await.expect("stops");
    Found::of(&posture)
}

impl Found {
    /// By what a change was noticed.
    fn is_noticed(&self) -> Option<String> {
        match self {
            Self::Reported(broken) if broken.is_empty() => None,
            Self::Reported(broken) => Some(broken.join(", ")),
            Self::Refused(error) => Some(format!("refused: {error}")),
        }
    }
}

fn reason(bundle: &Value, change: &Change) -> Option<&'static str> {
    let was = bundle.pointer(&change.at).and_then(Value::as_str).unwrap_or_default();
    let to = change.to.as_ref().map(ToString::to_string);
    let listed = NOTHING_COMES_OF_IT.iter().find(|(at, word, wanted, _)| {
        change.at.starts_with(at)
            && (word.is_empty() || *word == was && change.to.is_none())
            && (wanted.is_empty() || to.as_deref() == Some(wanted))
    });
    // A path that this kernel does not have can neither be hidden nor be locked.
    let is_path =
        change.at.starts_with("/linux/maskedPaths/") || change.at.starts_with("/linux/readonlyPaths/");
    let is_missing = is_path && !Path::new(was).exists();
    listed.map(|(_, _, _, why)| *why).or(is_missing.then_some("this kernel has no such file"))
}

/// Every change of a value and of what is in it.
fn changes(value: &Value, at: &str) -> Vec<Change> {
    let to = |to: Value| Change { at: at.to_owned(), to: Some(to) };
    let mut all = Vec::new();
    if !at.is_empty() {
        all.push(Change { at: at.to_owned(), to: None });
    }
    match value {
        Value::Object(entries) => {
            all.extend(entries.iter().flat_map(|(key, value)| changes(value, &format!("{at}/{key}"))));
        }
        Value::Array(entries) => {
            all.extend(
                entries
                    .iter()
                    .enumerate()
                    .flat_map(|(index, value)| changes(value, &format!("{at}/{index}"))),
            );
            let more = if at.contains("capabilities") { "CAP_CHOWN" } else { "more" };
            all.push(to(entries.iter().cloned().chain([json!(more)]).collect()));
            all.push(to(json!([])));
        }
        Value::Bool(is) => all.push(to(json!(!is))),
        Value::Number(number) => {
            let number = number.as_u64().expect("none is negative");
            all.extend(
                [number + 1, number * 2, 0]
                    .into_iter()
                    .filter(|other| *other != number)
                    .map(|other| to(json!(other))),
            );
        }
        Value::String(text) => all.push(to(json!(format!("{text}x")))),
        Value::Null => {}
    }
    all
}

fn apply(bundle: &mut Value, change: &Change) {
    let (parent, key) = change.at.rsplit_once('/').expect("a pointer");
    let parent = bundle.pointer_mut(parent).expect("it is there");
    match (parent, &change.to) {
        (parent, Some(value)) if parent.is_object() => parent[key] = value.clone(),
        (Value::Object(entries), None) => drop(entries.remove(key)),
        (Value::Array(entries), to) => {
            let index = key.parse::<usize>().expect("an index");
            match to {
                Some(value) => entries[index] = value.clone(),
                None => drop(entries.remove(index)),
            }
        }
        (other, _) => panic!("{other} has no parts"),
    }
}
