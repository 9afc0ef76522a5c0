//! Wasm modules: run, and called.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use agentkernel_core::Availability;
use agentkernel_testkit::{Finished, available_or_skip};

use crate::support::{Trial, work_file};

const TOOL: &str = include_str!("../../../wasm/tests/wasm/modules/tool.wat");
const LIBRARY: &str = include_str!("../../../wasm/tests/wasm/modules/library.wat");

/// A trial with a module in its working directory, under this name.
fn trial(name: &str, content: impl AsRef<[u8]>) -> Option<Trial> {
    let trial = Trial::booting()?;
    // Everywhere, and not a machine where there can be one.
    trial.write_user_config("backend = \"wasm\"\n");
    fs::write(work_file(&trial, name), content).expect("written");
    Some(trial)
}

fn tool() -> Option<Trial> {
    trial("tool.wasm", wat::parse_str(TOOL).expect("valid"))
}

fn library() -> Option<Trial> {
    trial("library.wat", LIBRARY)
}

#[test]
fn a_module_is_run_by_its_name_with_words_variables_and_stdin() {
    let Some(trial) = tool() else { return };
    let said = trial.say(&["run", "-e", "A=1", "--", "tool.wasm", "args", "b c"]).assert_success();
    assert_eq!(said.stdout_text(), "tool.wasm\0args\0b c\0A=1\0");
    let said = trial.feed(&["run", "-i", "--", "./tool.wasm", "copy"], b"\0\xff bytes").assert_success();
    assert_eq!(said.stdout, b"\0\xff bytes");
    let said = trial.say(&["run", "--module", "tool.wasm", "--", "any name", "err"]).assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), ("".into(), "err".into()));
}

#[test]
fn the_end_of_a_module_is_ours() {
    let Some(trial) = tool() else { return };
    let run = |flags: &[&str], word: &str| trial.say(&[&["run"], flags, &["--", "tool.wasm", word]].concat());
    assert_eq!(run(&[], "fail").assert_code(3).stderr_text(), "");
    run(&[], "y").assert_code(200);
    let trapped = run(&[], "trap").assert_code(128 + 6);
    insta::assert_snapshot!(trapped.stderr_text(), @r#"
    agentkernel: the module trapped: wasm trap: wasm `unreachable` instruction executed
    "#);
    run(&["--timeout", "100ms"], "loop").assert_code(124);
    let grown = run(&["--memory", "8M"], "grow").assert_code(128 + 6);
    assert!(grown.stderr_text().contains("it had been refused more memory than its limit"), "{grown:?}");
    let flooded = run(&["--output-limit", "100K", "--timeout", "200ms"], "out").assert_code(124);
    assert_eq!(flooded.stdout.len(), 100 << 10);
}

#[test]
fn a_function_is_called_and_its_result_is_json() {
    let Some(trial) = library() else { return };
    let call = |text: &str| trial.say(&["call", "library.wat", text]);
    assert_eq!(call("add(40, 2)").assert_success().stdout_text(), "42\n");
    assert_eq!(call("pair()").assert_success().stdout_text(), "[-1,0.5]\n");
    assert_eq!(call("nothing()").assert_success().stdout_text(), "");
    for _ in 0..3 {
        assert_eq!(call("count()").assert_success().stdout_text(), "1\n", "an instance of its own");
    }
    let said = trial.say(&["call", "--format", "json", "library.wat", "half(3)"]).assert_success();
    let said: serde_json::Value = serde_json::from_str(&said.stdout_text()).expect("json");
    assert_eq!(said["values"], serde_json::json!([1.5]));
    let way = if crate::BY_DAEMON { "daemon" } else { "in-process" };
    assert_eq!(said["way"], way);
}

#[test]
fn a_call_that_fails_says_why_and_what_would_be_right() {
    let Some(trial) = library() else { return };
    let call = |flags: &[&str], text: &str| trial.say(&[&["call"], flags, &["library.wat", text]].concat());
    let told = |said: Finished, code| said.assert_code(code).stderr_text();
    insta::assert_snapshot!(told(call(&[], "divide(1, 0)"), 134), @r"
    agentkernel: call the function: divide: wasm trap: integer divide by zero
    ");
    insta::assert_snapshot!(told(call(&[], "sub(1, 0)"), 2), @r"
    agentkernel: call the function: sub: the module exports no function of that name, but _initialize, ready, add, half, wide, divide, pair, nothing, spin, deep, leave, reference and 4 more
    ");
    insta::assert_snapshot!(told(call(&[], "add(1)"), 2), @r"
    agentkernel: call the function: add: it takes 2 and not 1 arguments: (i32, i32) -> i32
    ");
    insta::assert_snapshot!(told(call(&[], "add(1"), 2), @r"
    agentkernel: invalid value 'add(1' for '<CALL>': it does not end with ')'; write NAME(ARGUMENT, …)
    hint: --help says every word and its meaning
    ");
    insta::assert_snapshot!(told(call(&["--timeout", "50ms"], "spin()"), 124), @r"
    agentkernel: call the function: spin: it had not returned after 50 ms
    ");
    let said = call(&["--format", "json"], "divide(1, 0)").assert_code(134);
    assert!(said.stdout_text().contains(r#""kind":"trapped""#), "{said:?}");
}

#[test]
fn what_is_no_module_is_told_before_anything_is_run() {
    let Some(trial) = trial("text.wasm", "#!/bin/sh\n") else { return };
    let wrong = trial.say(&["run", "--backend", "wasm", "--", "text.wasm"]).assert_code(126);
    assert!(wrong.stderr_text().contains("text.wasm: it is not a Wasm module"), "{wrong:?}");
    // Of a file that is none, nobody can say that it was meant as one.
    trial.say(&["run", "--backend", "auto", "--", "text.wasm"]).assert_code(127);
    trial.say(&["run", "--backend", "wasm", "--", "none.wasm"]).assert_code(127);
    let folder = trial.say(&["call", ".", "f()"]).assert_code(126);
    assert!(folder.stderr_text().contains("it is not a file"), "{folder:?}");
    let linux = trial.say(&["run", "--backend", "wasm", "--", "echo", "hello"]).assert_code(125);
    insta::assert_snapshot!(linux.stderr_text(), @r"
    agentkernel: start the sandbox: image: this backend runs Wasm modules alone
    hint: name one with --module
    ");
    for backend in ["oci", "docker"] {
        let other = trial.say(&["run", "--backend", backend, "--module", "text.wasm", "--", "x"]);
        other.assert_code(125);
    }
}

#[test]
fn a_module_can_be_ended() {
    let Some(trial) = tool() else { return };
    let mut command = trial.command(&["run", "--", "tool.wasm", "out"]);
    let mut running = command.stdout(Stdio::piped()).spawn().expect("started");
    let mut output = running.stdout.take().expect("a pipe");
    output.read_exact(&mut [0]).expect("it runs");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    output.read_to_end(&mut Vec::new()).expect("its last words");
    assert_eq!(running.wait().expect("ended").code(), Some(130));
}

#[test]
fn the_examples_do_what_they_say() {
    let Some(trial) = Trial::booting() else { return };
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/wasm");
    let math = source.join("math.wat").display().to_string();
    assert_eq!(trial.say(&["call", &math, "add(40, 2)"]).assert_success().stdout_text(), "42\n");
    assert_eq!(trial.say(&["call", &math, "hypotenuse(3, 4)"]).assert_success().stdout_text(), "5.0\n");
    let Some(clang) = agentkernel_testkit::tool_or_skip("clang") else { return };
    let module = work_file(&trial, "words.wasm");
    let mut compile = trial.environment.command(&clang);
    compile.args(["--target=wasm32-wasi", "-O2", "-o"]).arg(&module).arg(source.join("words.c"));
    Finished::of(&mut compile).assert_success();
    let said = trial.feed(&["run", "-i", "-e", "NAME=value", "--", "words.wasm", "one", "two"], b"a\nb\n");
    insta::assert_snapshot!(said.assert_success().stdout_text(), @r"
    2 lines, 4 bytes
    word 1: one
    word 2: two
    NAME is value, HOME is not set
    /etc/passwd is not there
    the time is told
    ");
    trial.say(&["run", "--", "words.wasm"]).assert_code(3);
    assert_eq!(trial.say(&["call", "words.wasm", "fib(20)"]).assert_success().stdout_text(), "6765\n");
}

#[test]
fn the_example_in_rust_does_what_it_says() {
    let Some(trial) = trial("none", "") else { return };
    // The distribution's: that of rustup has to be asked for the target, and belongs to whoever runs the tests.
    let target = std::path::Path::new("/usr/lib/rustlib/wasm32-wasi");
    let there = match target.exists() {
        true => Availability::Available { facts: Vec::new() },
        false => Availability::Unavailable {
            needs: format!("{} and /usr/bin/rustc", target.display()),
            hint: "apt-get install rustc libstd-rust-dev-wasm32 lld".into(),
        },
    };
    if !available_or_skip("rust-wasm", &there) {
        return;
    }
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/wasm/primes.rs");
    let module = work_file(&trial, "primes.wasm");
    let mut compile = trial.environment.command("/usr/bin/rustc");
    compile.args(["--target", "wasm32-wasi", "-C", "linker=wasm-ld", "-O", "-o"]).arg(&module).arg(source);
    Finished::of(&mut compile).assert_success();
    let said = trial.say(&["run", "--", "primes.wasm", "1000"]).assert_success();
    assert_eq!(said.stdout_text(), "168 primes below 1000\n");
    trial.say(&["run", "--", "primes.wasm"]).assert_code(2);
    assert_eq!(
        trial.say(&["call", "primes.wasm", "primes_below(100)"]).assert_success().stdout_text(),
        "25\n"
    );
}
