use super::*;

/// A workspace with one test, one rule, one control, and a page of each kind that is right.
fn workspace() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("crates/testkit/src/conformance/life.rs", "rule!(\"life.one_holder\", x)"),
        ("crates/agentkernel/tests/boundary/posture/table.rs", "plan(\"user.uid\", |plan| x)"),
        ("crates/agentkernel/tests/boundary/posture/gvisor.rs", "row(\"gvisor.gofer\", x)"),
        ("tests.rs", TESTS),
        ("README.md", "[security](SECURITY.md#promises), https://a.b, [there](https://a.b/c)\n"),
        ("SECURITY.md", "# Promises\n[`it_holds_each_time`][t] and `life.*`\n[t]: tests.rs\n"),
        ("docs/threat-model.md", "[`KNOWN_FAULTS`](../tests.rs)\n"),
        ("docs/security-posture.md", "`user.uid`, `gvisor.*`, `life.one_holder`, `no_new_privs`\n"),
    ];
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = folder.path().to_path_buf();
    let workspace = Workspace { target: root.join("target"), root, crates: Vec::new() };
    (folder, workspace)
}

const TESTS: &str = "\
const KNOWN_FAULTS: &[&str] = &[];
/// Why.
#[tokio::test(flavor = \"multi_thread\")]
async fn it_holds_each_time() {}
#[test]
#[ignore = \"it takes an hour\"]
fn it_holds_for_long() {}
fn it_is_no_test_at_all() {}
";

/// The rules that are broken once this document says this.
fn broken(document: &str, text: &str) -> Vec<String> {
    let (_folder, workspace) = workspace();
    fs::write(workspace.root.join(document), text).unwrap();
    let checked = check(&workspace).unwrap();
    checked
        .violations
        .into_iter()
        .map(|violation| format!("{}: {}", violation.place, violation.rule))
        .collect()
}

#[test]
fn what_is_there_can_be_cited() {
    let (_folder, workspace) = workspace();
    let checked = check(&workspace).unwrap();
    assert_eq!(checked.violations, []);
    assert_eq!((checked.documents, checked.links, checked.proofs), (4, 4, 6));
}

#[test]
fn a_link_leads_to_a_file_and_to_its_heading() {
    assert_eq!(
        broken("README.md", "\n[a](b.md) [c](SECURITY.md#none) [d](#none) [e][f]\n"),
        [
            "README.md:2: the link to b.md leads to a file",
            "README.md:2: the link to SECURITY.md#none leads to a heading",
            "README.md:2: the link to #none leads to a heading",
            "README.md:2: [e] refers to a link that is defined in the same document",
        ]
    );
}

#[test]
fn a_proof_is_a_test_that_runs_in_the_file_that_is_named() {
    for (name, what) in [
        ("it_holds_no_more", "there is a test it_holds_no_more in"),
        ("it_holds_for_long", "it_holds_for_long is a test that always runs in"),
        ("it_is_no_test_at_all", "it_is_no_test_at_all is a test that always runs in"),
        ("KNOWN", "there is a list KNOWN in"),
    ] {
        let found = broken("SECURITY.md", &format!("# Promises\n[`{name}`](tests.rs)\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("SECURITY.md:2: {what} tests.rs")), "{found:?}");
    }
    let bare = broken("SECURITY.md", "# Promises\n`it_holds_each_time`\n");
    assert_eq!(bare, ["SECURITY.md:2: a test is cited with its file"]);
}

#[test]
fn rules_and_controls_are_those_that_there_are_and_all_controls_are_explained() {
    let unknown = broken("docs/threat-model.md", "`life.two_holders`, `user.*`, `mount.x`, `user.gid`\n");
    assert_eq!(
        unknown,
        ["life.two_holders", "user.gid"].map(|name| {
            format!("docs/threat-model.md:1: `{name}` is a rule of the suite, or a control of the posture")
        })
    );
    let silent = broken("docs/security-posture.md", "`user.uid`\n");
    assert_eq!(silent, ["docs/security-posture.md:1: `gvisor.gofer` is explained, like every control"]);
}

#[test]
fn the_documents_about_security_are_there() {
    for path in PROOFS {
        let (_folder, workspace) = workspace();
        fs::remove_file(workspace.root.join(path)).unwrap();
        assert!(check(&workspace).is_err_and(|error| error.to_string().contains(path)));
    }
}
