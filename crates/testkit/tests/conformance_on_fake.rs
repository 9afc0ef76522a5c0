//! The suite is believed because the fake passes it, and because every rule has been seen to fail: those
//! of the doors by faults, those of boundaries on the fake itself, which is none.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentkernel_core::Backend;
use agentkernel_testkit::conformance::{self, Rules, SuiteOptions, Verdict};
use agentkernel_testkit::{EXPECTATIONS, FakeBackend};

/// Rules that plain host processes break, and how. What is missing here would endanger the host.
const BROKEN_WITHOUT_BOUNDARY: &[(&str, &str)] = &[
    ("limits.disk", ". took 12 MiB"),
    ("limits.file_size", "head -c 16777216 /dev/zero >file: done"),
    ("limits.memory", "200 MiB were held"),
    ("limits.memory_holds_tmpfs", "200 MiB lay"),
    ("limits.open_files", "soft and hard limit"),
    ("limits.pids", "128 children ran"),
    ("isolation.posture_holds", "of 0 controls"),
    ("isolation.user_is_nobodys", "user and groups"),
    ("isolation.no_capabilities", "Cap"),
    ("isolation.no_new_privileges", "NoNewPrivs 0"),
    ("isolation.namespaces_are_new", "is the host's"),
    ("isolation.siblings_share_no_namespace", "share"),
    ("isolation.siblings_share_no_uid", "overlap"),
    ("isolation.hostname_is_its_own", "so is the host's"),
    ("isolation.only_its_own_processes", "it sees"),
    ("isolation.no_network", "a listener of the host's"),
    ("isolation.root_is_read_only", "read-write"),
    ("isolation.writable_places", "is no mount of its own"),
    ("isolation.host_files_are_invisible", "of the host"),
    ("isolation.host_environment_is_invisible", "of the host"),
];

/// What can be shown by root alone: an ordinary user cannot break the first, and has no such sets.
const BROKEN_BY_ROOT: &[(&str, &str)] = &[("isolation.root_is_refused", "was not refused")];

/// Rules that only a real boundary can break without harm; a test of each such backend proves them.
const PROVEN_ON_BOUNDARIES: &[&str] = &["limits.a_fork_bomb_is_bounded", "limits.cpus", "resize.cpus"];

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_keeps_every_rule_that_needs_no_boundary() {
    let backend = FakeBackend::new();
    let report = conformance::run(&backend, &SuiteOptions::for_backend(&backend)).await;
    println!("{report}");
    report.assert_all_held();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_noticed_by_its_rule() {
    let backend: Arc<dyn Backend> = Arc::new(FakeBackend::new());
    conformance::prove(&backend, &SuiteOptions::for_backend(&*backend)).await.assert_all_noticed();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_boundary_breaks_the_rules_of_boundaries() {
    let backend = FakeBackend::new();
    let mut options = SuiteOptions::for_backend(&backend);
    let terminal = options.rules.terminal;
    let all = true;
    options.rules = Rules {
        boundary: all,
        shared_kernel: all,
        terminal,
        uid_blocks: all,
        memory: all,
        cpus: all,
        pids: all,
        resize_memory: all,
        resize_cpus: all,
        ..options.rules
    };
    let by_root = if rustix::process::geteuid().is_root() { BROKEN_BY_ROOT } else { &[] };
    for (rule, found) in BROKEN_WITHOUT_BOUNDARY.iter().chain(by_root) {
        let report = conformance::run(&backend, &options.clone().only(*rule)).await;
        let verdict =
            report.outcomes.iter().find(|outcome| outcome.rule.name == *rule).map(|one| &one.verdict);
        let is_noticed = matches!(verdict, Some(Verdict::Broken(why)) if why.contains(found));
        assert!(is_noticed, "{rule} should say {found:?}, and says {verdict:?}");
    }
}

#[test]
fn no_rule_is_without_something_that_breaks_it_and_no_name_is_given_twice() {
    let by_fault: BTreeSet<&str> = EXPECTATIONS.iter().map(|expectation| expectation.rule).collect();
    let by_fake = BROKEN_WITHOUT_BOUNDARY.iter().chain(BROKEN_BY_ROOT).map(|(rule, _)| *rule);
    // The faults of limits are tried on boundaries only, but for the memory that the fake's commands have.
    let of_boundaries = |rule: &str| rule.starts_with("limits.") || rule == "resize.cpus";
    let here: BTreeSet<&str> =
        by_fault.iter().copied().filter(|rule| !of_boundaries(rule)).chain(by_fake).collect();
    let names: Vec<&str> = conformance::rules().map(|rule| rule.name).collect();
    let elsewhere: Vec<&str> = names.iter().copied().filter(|name| !here.contains(name)).collect();
    assert_eq!(elsewhere, PROVEN_ON_BOUNDARIES);
    assert!(elsewhere.iter().all(|name| by_fault.contains(name)));
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len());
    let unknown: Vec<_> = here.union(&by_fault).filter(|name| !unique.contains(*name)).collect();
    assert!(unknown.is_empty(), "no such rules: {unknown:?}");
}
