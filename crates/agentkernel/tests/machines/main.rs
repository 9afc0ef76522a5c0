//! Hyperlight machines by the program and by its daemon: on KVM, or on the emulated host of `scripts/kvm-lab`. What is shown is
//! function, and no time. A test program of its own, since an emulated host that shares its processors with other tests was seen to
//! stand still.

mod alone;
#[path = "../program/daemon.rs"]
#[expect(dead_code, reason = "other tests use it")]
mod daemon;
#[path = "../program/interpreters.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod interpreters;
mod pooled;
mod rig;
#[path = "../program/support.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentkernel_kvm::KvmLevel;
use agentkernel_testkit::{in_kvm_lab, tests_hold_in_kvm_lab, tool_or_skip};
use serde_json::Value;

use support::Trial;

/// Whether a daemon runs the commands.
const BY_DAEMON: bool = false;

/// What the emulated host is made with.
const TOOLS: [&str; 5] = ["gcc", "qemu-system-x86_64", "busybox", "mkfs.ext4", "setpriv"];

/// It boots in some ten seconds, and every command takes one or two.
const DEADLINE: Duration = Duration::from_secs(110);

/// One emulated host at a time.
static LAB: Mutex<()> = Mutex::new(());

/// The emulated host's users are its own, and so is what it writes.
const SCRIPT: &str = r#"
set -u
cd "$1"
wrong=0
# The code that is expected, and the words.
ak() { local want=$1; shift; "$AGENTKERNEL" "$@"; local code=$?; [ $code = $want ] || { wrong=1; echo "code $code, not $want"; }; }
ak 0 call --format json math.wat 'add(40, 2)'
ak 2 call --backend hyperlight math.wat 'sub(1)' 2>&1
ak 0 run --backend hyperlight --module hello.wat -- hello
ak 0 eval --backend hyperlight --lang js -p '6 * 7'
ak 0 eval --backend hyperlight --lang js -p 'Math.random()'
ak 0 eval --backend hyperlight --lang js -p 'Math.random()'
echo 1 2 3 > /tmp/input
ak 0 eval --backend hyperlight --lang js -i 'console.log(readStdin().split(" ").length)' < /tmp/input
ak 1 eval --backend hyperlight --lang js 'throw new Error("mine")' 2>/dev/null
ak 124 eval --backend hyperlight --lang js --timeout 2s 'for (;;);' 2>/dev/null
exit $wrong
"#;

const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"#;

#[test]
fn calls_commands_and_code_run_in_machines_where_kvm_works() {
    let trial = Trial::new();
    let program = Path::new(env!("CARGO_BIN_EXE_agentkernel"));
    the_helper_is_there();
    if TOOLS.iter().any(|name| tool_or_skip(name).is_none()) || !interpreters::install(&trial, "js") {
        return;
    }
    // Compiled here: the emulated host would take a minute for it.
    let (home, interpreter) = (interpreters::home(), interpreters::home().join("eval/js.wasm"));
    let interpreter = agentkernel_wasm::module_file(&interpreter).expect("a file");
    agentkernel_wasm::MachineCode::load(&interpreter, Some(home.join("cache/wasm"))).expect("compiled");
    // What is in /tmp is not seen there.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("set");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("math.wat", include_str!("../../../../examples/wasm/math.wat"));
    write("hello.wat", HELLO);
    write("script", SCRIPT);
    let (home, program) =
        (format!("AGENTKERNEL_HOME={}", home.display()), format!("AGENTKERNEL={}", program.display()));
    let (script, folder) =
        (folder.path().join("script").display().to_string(), folder.path().display().to_string());
    let _turn = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let said = in_kvm_lab(DEADLINE, &["--env", &home, "--env", &program], &["bash", &script, &folder]);
    let said = said.assert_success().stdout_text();
    let lines: Vec<_> = said.lines().collect();
    let [called, unknown, "hello", "42", one, other, "3"] = lines[..] else { panic!("{said}") };
    let called: Value = serde_json::from_str(called).unwrap_or_else(|why| panic!("{why}: {said}"));
    assert_eq!(
        (&called["backend"], &called["values"]),
        (&"hyperlight".into(), &vec![42].into()),
        "auto takes it"
    );
    assert!(unknown.contains("no function of that name, but add"), "{unknown}");
    assert_ne!(one, other, "random numbers of two machines of one snapshot");
}

/// It is a program of another crate, and found beside ours.
fn the_helper_is_there() {
    let helper = Path::new(env!("CARGO_BIN_EXE_agentkernel")).with_file_name("agentkernel-hyperlight");
    let how = "cargo build -p agentkernel-hyperlight-vm makes it, and --workspace makes all";
    assert!(helper.exists(), "{}: {how}", helper.display());
}

/// The tests of this program that need a machine, those of a line in an emulated host of their own: after some minutes of nested
/// machines its kernel was seen to stand still.
const TESTS: [&[&str]; 4] = [
    &[
        "alone::a_linux_program_says_and_ends_exactly_as_it_does_elsewhere",
        "alone::a_module_is_run_and_called_by_its_name",
        "pooled::a_daemon_keeps_warm_what_a_run_without_flags_takes",
    ],
    &["pooled::no_state_passes_between_two_commands_of_a_machine_that_lives_on"],
    &["pooled::no_state_passes_between_two_leases_of_linux_machines"],
    &["pooled::no_state_passes_between_two_leases_of_machines_with_a_module"],
];

#[test]
fn machines_serve_the_program_and_its_daemon_where_kvm_works() {
    the_helper_is_there();
    // The others run here then.
    if agentkernel_kvm::probe() == KvmLevel::Hardware || TOOLS.iter().any(|name| tool_or_skip(name).is_none())
    {
        return;
    }
    rig::root();
    let (program, required) =
        (std::env::current_exe().expect("this program"), format!("AGENTKERNEL_REQUIRE={}", rig::KVM));
    let _turn = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let program = [program.to_str().expect("a path of text"), "--test-threads=1"];
    for tests in TESTS {
        tests_hold_in_kvm_lab(DEADLINE, &["--env", &required], &program, tests, tests.len());
    }
}
