//! Files and folders in and out of a sandbox.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use agentkernel_testkit::noise;

use crate::support::{Trial, work_file};
use crate::terminal::Terminal;

fn with_sandbox() -> Option<Trial> {
    let trial = Trial::booting()?;
    trial.say(&["create", "--name", &trial.name]).assert_success();
    Some(trial)
}

impl Trial {
    fn cp(&self, source: &str, target: &str) {
        self.say(&["cp", &self.side(source), &self.side(target)]).assert_success();
    }

    fn cp_refused(&self, source: &str, target: &str) -> String {
        let said = self.say(&["cp", &self.side(source), &self.side(target)]);
        assert!(matches!(said.status.code(), Some(2 | 125)), "{said:?}");
        self.neutral(&said.stderr_text())
    }

    /// `@` is the sandbox.
    fn side(&self, side: &str) -> String {
        side.replacen('@', &format!("{}:", self.name), 1)
    }

    fn inside(&self, script: &str) -> String {
        self.say(&["exec", &self.name, "--", "sh", "-c", script]).assert_success().stdout_text()
    }
}

/// A folder with binary data, a link, an executable, an odd name and an empty folder.
fn make_tree(folder: &Path) {
    fs::create_dir_all(folder.join("sub/empty")).expect("folder");
    fs::write(folder.join("binary"), noise(400_003)).expect("file");
    fs::write(folder.join("sub/run.sh"), "#!/bin/sh\n").expect("file");
    fs::set_permissions(folder.join("sub/run.sh"), fs::Permissions::from_mode(0o755)).expect("mode");
    fs::write(folder.join("sub/a b\n\u{e4}"), "odd").expect("file");
    symlink("binary", folder.join("link")).expect("link");
}

fn assert_same_tree(a: &Path, b: &Path) {
    assert_eq!(fs::read(a.join("binary")).expect("there"), fs::read(b.join("binary")).expect("there"));
    assert_eq!(fs::read_link(b.join("link")).expect("a link"), Path::new("binary"));
    let mode = fs::metadata(b.join("sub/run.sh")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(fs::read_to_string(b.join("sub/a b\n\u{e4}")).expect("there"), "odd");
    assert!(b.join("sub/empty").is_dir());
}

#[test]
fn a_file_goes_in_and_out_byte_for_byte() {
    let Some(trial) = with_sandbox() else { return };
    let bytes = noise(3_000_001);
    fs::write(work_file(&trial, "in"), &bytes).expect("write");
    trial.cp("in", "@/workspace");
    trial.cp("in", "@renamed");
    assert_eq!(trial.inside("cmp in renamed && wc -c <in").trim(), "3000001");
    trial.cp("@/workspace/in", "out");
    assert!(fs::read(work_file(&trial, "out")).expect("there") == bytes);
    fs::create_dir(work_file(&trial, "folder")).expect("folder");
    trial.cp("@in", "folder");
    assert!(fs::read(work_file(&trial, "folder/in")).expect("there") == bytes);
    // Over one that is there.
    trial.inside("echo short >in");
    trial.cp("@in", "out");
    assert_eq!(fs::read(work_file(&trial, "out")).expect("there"), b"short\n");
}

#[test]
fn a_folder_goes_in_and_out_as_docker_does_it() {
    let Some(trial) = with_sandbox() else { return };
    let tree = work_file(&trial, "tree");
    make_tree(&tree);
    // What does not exist becomes the copy; what does, takes it; with /. it takes what is in it.
    trial.cp("tree", "@new");
    trial.cp("tree", "@new");
    trial.cp("tree/.", "@/tmp");
    assert_eq!(
        trial.inside("test -e new/binary && test -e new/tree/binary && test -e /tmp/binary && echo all"),
        "all\n"
    );
    trial.cp("@new", "back");
    assert_same_tree(&tree, &work_file(&trial, "back"));
    trial.cp("@/workspace/new/tree", "back");
    assert_same_tree(&tree, &work_file(&trial, "back/tree"));
    fs::create_dir(work_file(&trial, "flat")).expect("folder");
    trial.cp("@new/tree/.", "flat");
    assert_same_tree(&tree, &work_file(&trial, "flat"));
}

#[test]
fn archives_come_and_go_by_the_standard_streams() {
    let Some(trial) = with_sandbox() else { return };
    make_tree(&work_file(&trial, "tree"));
    trial.cp("tree", "@tree");
    let said = trial.say(&["cp", &trial.side("@tree"), "-"]).assert_success();
    trial.inside("mkdir /tmp/copy");
    trial.feed(&["cp", "-", &trial.side("@/tmp/copy")], &said.stdout).assert_success();
    assert_eq!(trial.inside("diff -r tree /tmp/copy/tree && echo same"), "same\n");
}

#[test]
fn what_cannot_be_copied_is_refused_in_words() {
    let Some(trial) = with_sandbox() else { return };
    fs::write(work_file(&trial, "file"), "x").expect("write");
    make_tree(&work_file(&trial, "tree"));
    trial.inside("echo y >there");
    insta::assert_snapshot!(trial.cp_refused("file", "other"), @r#"
    agentkernel: read the command line: SRC DST: one of them must be in a sandbox, and the other not
    hint: write for example: agentkernel cp ./file NAME:/workspace
    "#);
    insta::assert_snapshot!(trial.cp_refused("missing", "@/tmp"), @"agentkernel: copy into the sandbox: missing: No such file or directory (os error 2)");
    insta::assert_snapshot!(trial.cp_refused("tree", "@there"), @"agentkernel: copy into the sandbox: /workspace/there: a folder cannot replace a file");
    insta::assert_snapshot!(trial.cp_refused("file", "@nowhere/"), @"agentkernel: copy into the sandbox: /workspace/nowhere/: there is no such folder in the sandbox");
    insta::assert_snapshot!(trial.cp_refused("-", "@there"), @"agentkernel: copy into the sandbox: /workspace/there: an archive is unpacked into a folder, which this is not");
    let missing = trial.cp_refused("@missing", "x");
    assert!(missing.contains("/workspace/missing") && missing.contains("No such file"), "{missing}");
    assert!(!work_file(&trial, "x").exists());
    trial.inside("mkdir folder");
    insta::assert_snapshot!(trial.cp_refused("@folder", "file"), @"agentkernel: copy out of the sandbox: file: a folder cannot replace a file");
    let readonly = trial.cp_refused("file", "@/usr/file");
    assert!(readonly.contains("/usr/file"), "{readonly}");
}

#[test]
fn a_sandbox_cannot_write_outside_of_the_copy() {
    let Some(trial) = with_sandbox() else { return };
    fs::create_dir(work_file(&trial, "target")).expect("folder");
    fs::create_dir(work_file(&trial, "precious")).expect("folder");
    // A link where the copy has a folder: it is not followed.
    symlink("../precious", work_file(&trial, "target/evil")).expect("link");
    trial.inside("mkdir evil && echo x >evil/file");
    let refused = trial.cp_refused("@evil", "target");
    assert!(refused.contains("target/evil") || refused.contains("evil"), "{refused}");
    assert_eq!(fs::read_dir(work_file(&trial, "precious")).expect("there").count(), 0);
}

#[test]
fn an_archive_is_neither_typed_nor_shown() {
    let trial = Trial::new();
    for (words, stream) in
        [(["cp", "-", "web:/workspace"], "input"), (["cp", "web:/workspace", "-"], "output")]
    {
        let mut terminal = Terminal::of(trial.command(&words));
        terminal.wait_for(&format!("a tar archive is meant, and standard {stream} is a terminal\r\n"));
        terminal.wait_for("hint: write for example");
        terminal.assert_ends_with(2);
    }
}
