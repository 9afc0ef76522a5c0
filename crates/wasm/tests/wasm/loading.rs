//! What is and is not a module.

use agentkernel_core::{Backend as _, ErrorKind};

use crate::fixture::{File, TOOL, backend, limits, run, tool};

#[tokio::test]
async fn what_is_no_module_is_told_why() {
    let wasm = wat::parse_str(TOOL).expect("valid");
    let component = [b"\0asm\x0d\0\x01\0".as_slice(), &[0; 8]].concat();
    for (content, why) in [
        (b"#!/bin/sh\necho hello\n".to_vec(), "it is not a Wasm module"),
        (Vec::new(), "it is not a Wasm module"),
        (b"\0asm".to_vec(), "it is Wasm of a version that is not known, or cut off"),
        (wasm[..wasm.len() / 2].to_vec(), "it is not valid: "),
        (wasm[..9].to_vec(), "it is not valid: "),
        (component, "it is a component (WASI 0.2 or later)"),
        (b"(module (func (export \"_start\") i32.const))".to_vec(), "it is not valid: "),
        (
            b"(module (func (export \"f\") (result i32) i64.const 1))".to_vec(),
            "type mismatch: expected i32, found i64",
        ),
        (
            b"(module (import \"env\" \"draw\" (func)))".to_vec(),
            "it imports draw of 'env', and nothing of that name",
        ),
        (b"(module (import \"wasi_unstable\" \"fd_write\" (func)))".to_vec(), "which is not WASI preview 1"),
        (
            b"(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))".to_vec(),
            "it cannot be linked: incompatible import type for `wasi_snapshot_preview1::fd_write`",
        ),
    ] {
        let error = File::of(&content).refused().await;
        assert_eq!(error.kind, ErrorKind::CommandNotExecutable, "{error}");
        assert!(error.why.contains(why), "{why}: {error}");
        assert!(error.subject.ends_with("module.wasm"), "{error}");
    }
}

#[tokio::test]
async fn a_library_is_no_command_and_says_what_it_has() {
    let file = File::of("(module (func (export \"one\")) (func (export \"two\")))");
    let sandbox = file.sandbox(limits()).await;
    let error = sandbox.exec(&tool(&[])).await.map(drop).expect_err("no _start");
    assert_eq!(error.kind, ErrorKind::CommandNotExecutable);
    assert!(error.why.ends_with("agentkernel call: one, two"), "{error}");
    sandbox.stop().await.expect("stops");
}

#[test]
fn what_is_not_there_or_no_file_is_told() {
    let file = File::of("");
    let folder = file.path().parent().expect("a folder").to_owned();
    let of = |path: &std::path::Path| agentkernel_wasm::module_file(path).expect_err("refused").kind;
    assert_eq!(of(&folder.join("none.wasm")), ErrorKind::CommandNotFound);
    assert_eq!(of(&folder), ErrorKind::CommandNotExecutable);
    assert_eq!(of("/dev/zero".as_ref()), ErrorKind::CommandNotExecutable);
    assert!(!agentkernel_wasm::is_module(&file.path()) && !agentkernel_wasm::is_module(&folder));
    let module = File::of(wat::parse_str(TOOL).expect("valid"));
    assert!(agentkernel_wasm::is_module(&module.path()));
}

#[tokio::test]
async fn a_file_that_changes_is_another_module() {
    let exits = |code: u8| {
        format!(
            "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
             (memory (export \"memory\") 0) (func (export \"_start\") (call $exit (i32.const {code}))))"
        )
    };
    let file = File::of(exits(1));
    let before = file.spec(limits());
    let code = async |spec: &agentkernel_core::SandboxSpec| {
        let sandbox = backend().boot(spec).await.expect("boots").sandbox;
        let exited = run(&*sandbox, &tool(&[])).await.1;
        sandbox.stop().await.expect("stops");
        exited.status.shell_code()
    };
    assert_eq!(code(&before).await, 1);
    std::fs::write(file.path(), exits(22)).expect("written");
    let after = file.spec(limits());
    assert_eq!(code(&after).await, 22);
    // Who asked before gets what he asked for, as long as it is known, and never the other.
    assert_eq!(code(&before).await, 1);
    let old = File::of(exits(3));
    let spec = old.spec(limits());
    std::fs::write(old.path(), exits(44)).expect("written");
    let error = backend().boot(&spec).await.map(drop).expect_err("it has changed");
    assert!(error.why.contains("it has changed since it was asked for"), "{error}");
}
