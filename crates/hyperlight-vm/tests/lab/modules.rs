//! Wasm modules in machines: commands, calls, what is told of what goes wrong, and snapshots that are kept.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use agentkernel_core::{Backend as _, Call, ErrorKind, ExitStatus, Image, Sandbox};
use agentkernel_hyperlight::HyperlightBackend;
use serde_json::{Value, json};

use crate::rig::{backend, command, has_kvm, run, say, spec};

const MODULE: &str = include_str!("module.wat");

/// A folder for the module and what is kept of it.
pub fn home() -> &'static Path {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    HOME.get_or_init(|| tempfile::tempdir().expect("a folder")).path()
}

pub fn module(text: &str) -> Image {
    let path = tempfile::Builder::new().suffix(".wat").tempfile_in(home()).expect("a file").into_temp_path();
    fs::write(&path, text).expect("written");
    let path = path.keep().expect("kept");
    Image::Module(agentkernel_wasm::module_file(&path).expect("a file"))
}

/// The module of these tests.
pub fn module_image() -> Image {
    module(MODULE)
}

pub fn cached(cache: PathBuf) -> HyperlightBackend {
    backend().cached_in(Some(cache))
}

/// A sandbox of the module, in a machine of so much memory.
async fn of_module(memory_mib: u64) -> Box<dyn Sandbox> {
    let booted = cached(home().join("cache")).boot(&spec(module(MODULE), memory_mib)).await;
    booted.unwrap_or_else(|why| panic!("{why}")).sandbox
}

pub async fn called(sandbox: &dyn Sandbox, text: &str) -> agentkernel_core::Result<Vec<Value>> {
    let call: Call = text.parse().expect("a call");
    Ok(sandbox.call(&Call { timeout: Some(Duration::from_secs(30)), ..call }).await?.values)
}

pub async fn number(sandbox: &dyn Sandbox, text: &str) -> i64 {
    let values = called(sandbox, text).await.unwrap_or_else(|why| panic!("{text}: {why}"));
    values[0].as_i64().expect("a number")
}

#[tokio::test]
async fn functions_return_what_they_should_and_nothing_passes_from_one_call_to_the_next() {
    if !has_kvm() {
        return;
    }
    let sandbox = of_module(128).await;
    let posture = sandbox.posture().await.expect("read");
    assert!(posture.holds(), "{posture:?}");
    assert_eq!(called(&*sandbox, "add(40, 2)").await.expect("returned"), [json!(42)]);
    assert_eq!(called(&*sandbox, "half(0.5)").await.expect("returned"), [json!(0.25), json!(-1)]);
    for _ in 0..3 {
        assert_eq!(number(&*sandbox, "calls()").await, 2, "a global and a word of memory, both new");
    }
    let (one, other) = (number(&*sandbox, "random()").await, number(&*sandbox, "random()").await);
    assert_ne!(one, other, "both come from one snapshot");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let there = u64::try_from(number(&*sandbox, "now_ns()").await).expect("after 1970");
    let apart = now.abs_diff(Duration::from_nanos(there));
    assert!(apart < Duration::from_secs(20), "its clock is {apart:?} from ours");
    assert!(number(&*sandbox, "wait(30000000)").await >= 30_000_000);
}

/// One whose start function asks for something random, which would be the same in each machine if it were asked before the
/// snapshot, and writes to stdout.
const STARTS: &str = "(module
  (import \"wasi_snapshot_preview1\" \"random_get\" (func $random (param i32 i32) (result i32)))
  (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export \"memory\") 1)
  (data (i32.const 16) \"\\20\\00\\00\\00\\06\\00\\00\\00\") (data (i32.const 32) \"begun\\n\")
  (func $begin
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (drop (call $random (i32.const 0) (i32.const 8))))
  (start $begin)
  (func (export \"_start\"))
  (func (export \"begun\") (result i64) (i64.load (i32.const 0))))";

#[tokio::test]
async fn what_a_module_does_when_its_instance_is_made_it_does_in_the_restored_machine() {
    if !has_kvm() {
        return;
    }
    let booted = cached(home().join("cache")).boot(&spec(module(STARTS), 128)).await;
    let sandbox = booted.unwrap_or_else(|why| panic!("{why}")).sandbox;
    let (one, other) = (number(&*sandbox, "begun()").await, number(&*sandbox, "begun()").await);
    assert!(one != other && one != 0, "{one} twice");
    let said = say(&*sandbox, &["m"]).await;
    assert_eq!(
        (said.text(), said.code()),
        ("begun".into(), 0),
        "its streams are the command's from the beginning"
    );
}

#[tokio::test]
async fn what_goes_wrong_in_a_call_is_told_and_the_sandbox_lives_on() {
    if !has_kvm() {
        return;
    }
    let sandbox = of_module(128).await;
    for (text, kind, why) in [
        ("sub(1)", ErrorKind::Usage, "no function of that name, but _start, add"),
        ("add(1)", ErrorKind::Usage, "it takes 2 and not 1"),
        ("add(1, \"x\")", ErrorKind::Usage, "which is no i32"),
        ("deep()", ErrorKind::Trapped, "call stack exhausted"),
        ("outside()", ErrorKind::Trapped, "out of bounds memory access"),
        ("leave()", ErrorKind::Trapped, "it ended itself with exit code 3"),
    ] {
        let error = called(&*sandbox, text).await.expect_err(text);
        assert!(error.kind == kind && error.why.contains(why), "{text}: {error:?}");
    }
    let spin = Call { timeout: Some(Duration::from_millis(300)), ..("spin()".parse().expect("a call")) };
    let error = sandbox.call(&spin).await.expect_err("late");
    assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::Timeout, "spin"));
    let endless = Call { timeout: None, ..spin };
    let given_up = tokio::time::timeout(Duration::from_millis(300), sandbox.call(&endless));
    assert!(given_up.await.is_err(), "nobody waits for it any more");
    assert_eq!(number(&*sandbox, "add(1, 2)").await, 3, "its machine was made anew");
}

#[tokio::test]
async fn a_module_has_the_memory_of_its_machine_and_is_refused_more() {
    if !has_kvm() {
        return;
    }
    let sandbox = of_module(128).await;
    assert_eq!(number(&*sandbox, "grow(2000)").await, -1, "125 MiB of 128");
    assert_eq!(number(&*sandbox, "grow(65000)").await, -1);
    // All that it is promised is there.
    let (mut least, mut most) = (0, 2000);
    while most - least > 50 {
        let half = i64::midpoint(least, most);
        if number(&*sandbox, &format!("grow({half})")).await < 0 { most = half } else { least = half }
    }
    assert!(least > 800, "{least} pages are less than half of the machine");
    assert_eq!(number(&*sandbox, &format!("touch({least})")).await, least + 2);
}

#[tokio::test]
async fn a_command_has_its_words_its_streams_and_its_end() {
    if !has_kvm() {
        return;
    }
    let sandbox = of_module(128).await;
    let mut copy = command(&["m"]);
    copy.env = vec![(b"A".to_vec(), b"1".to_vec()), (b"B".to_vec(), b"2".to_vec())];
    let input: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let said = run(&*sandbox, &copy, Some(input.clone())).await.expect("it runs");
    assert!(said.stdout == input, "{} bytes of {}", said.stdout.len(), input.len());
    assert_eq!(
        (said.stderr.as_slice(), said.code()),
        (&b"err\n"[..], 2),
        "the two variables that it was given"
    );
    assert_eq!(say(&*sandbox, &["m", &"x".repeat(200)]).await.code(), 200, "above 125 as well");
    let trapped = say(&*sandbox, &["m", "1", "2"]).await;
    assert_eq!(trapped.exited.status, ExitStatus::Signal(6));
    assert!(
        String::from_utf8_lossy(&trapped.stderr)
            .contains("the module trapped: wasm trap: wasm `unreachable`")
    );
    let mut folder = command(&["m"]);
    folder.cwd = Some(b"/tmp".to_vec());
    let error = run(&*sandbox, &folder, None).await.expect_err("refused");
    assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::CommandRefused, "/tmp"));
    let error = run(&*sandbox, &command(&["m", "\u{0}"]), None).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::CommandRefused);
}

#[tokio::test]
async fn what_is_no_command_no_module_or_too_large_is_refused_before_there_is_a_machine() {
    if !has_kvm() {
        return;
    }
    let nothing = "(module (func (export \"f\")))";
    let library = backend().boot(&spec(module(nothing), 128)).await.expect("it boots").sandbox;
    let error = run(&*library, &command(&["m"]), None).await.expect_err("refused");
    assert!(error.kind == ErrorKind::CommandNotExecutable && error.why.contains("_start"), "{error}");
    let programs = Call { timeout: None, ..("f()".parse().expect("a call")) };
    assert!(library.call(&programs).await.expect("returned").values.is_empty());
    for (text, why) in [
        ("no module", "it is not a Wasm module"),
        ("(module (import \"env\" \"f\" (func)))", "it imports f of 'env'"),
        ("(module (memory 40000))", "memory"),
    ] {
        let booted = backend().boot(&spec(module(text), 128)).await;
        let error = match booted {
            Ok(booted) => run(&*booted.sandbox, &command(&["m"]), None).await.expect_err(text),
            Err(error) => error,
        };
        assert!(error.to_string().contains(why) || error.why.contains("_start"), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_snapshot_is_kept_and_only_one_that_is_ours_alone_and_whole_is_used() {
    if !has_kvm() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, image) = (folder.path().join("cache"), module(MODULE));
    let make = async || {
        let booted =
            cached(cache.clone()).boot(&spec(image.clone(), 128)).await.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(number(&*booted.sandbox, "add(40, 2)").await, 42);
    };
    make().await;
    let machines = cache.join("machines");
    let kept = || fs::read_dir(&machines).expect("kept").map(|entry| entry.expect("an entry").path()).next();
    let one = kept().expect("a snapshot");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("there"));
    let first = inode(&one);
    make().await;
    assert_eq!((kept().as_ref(), inode(&one)), (Some(&one), first), "it was taken and not made again");
    // What others may write to is not used, and not written over.
    fs::set_permissions(&one, Permissions::from_mode(0o777)).expect("set");
    make().await;
    assert_eq!(inode(&one), first);
    fs::set_permissions(&one, Permissions::from_mode(0o700)).expect("set");
    for entry in walk(&one) {
        fs::write(&entry, "").expect("emptied");
    }
    make().await;
    let second = inode(&one);
    assert_ne!(second, first, "what cannot be loaded is replaced");
    for entry in walk(&one) {
        let length = usize::try_from(fs::metadata(&entry).expect("there").len()).expect("of this machine");
        if length > 1 << 20 {
            fs::write(&entry, vec![0; length]).expect("zeros");
        }
    }
    make().await;
    assert_ne!(inode(&one), second, "what no machine can be made of is replaced");
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
