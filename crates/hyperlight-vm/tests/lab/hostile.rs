//! A module that gives the functions of its machine what is none of its memory.

use agentkernel_core::{Backend as _, ErrorKind, ExitStatus};

use crate::modules::{cached, called, home, module, number};
use crate::rig::{command, has_kvm, run, spec};

const HOSTILE: &str = include_str!("../../../wasm/tests/wasm/modules/hostile.wat");

/// What it asks for, a call on each line: the same as of the backend `wasm`.
const CALLS: &str = include_str!("../../../wasm/tests/wasm/modules/hostile.calls");

#[tokio::test]
async fn pointers_and_lengths_of_no_memory_are_errors_of_the_module_and_harm_nobody() {
    if !has_kvm() {
        return;
    }
    let backend = cached(home().join("cache"));
    let spec = spec(module(HOSTILE), 128);
    let (one, other) = (backend.boot(&spec).await, backend.boot(&spec).await);
    let sandbox = one.unwrap_or_else(|why| panic!("{why}")).sandbox;
    let neighbour = other.unwrap_or_else(|why| panic!("{why}")).sandbox;
    for call in CALLS.lines() {
        match called(&*sandbox, call).await {
            Ok(values) => {
                let number = values[0].as_i64().expect("an error number");
                assert!((1..=76).contains(&number), "{call}: {number}");
            }
            Err(error) => assert_eq!(error.kind, ErrorKind::Trapped, "{call}: {error}"),
        }
    }
    for words in [&["m"][..], &["m", "two"], &["m", "two", "three"], &["m", "two", "three", "four"]] {
        let mut command = command(words);
        command.env = vec![(b"NAME".to_vec(), b"value".to_vec())];
        let said = run(&*sandbox, &command, Some(b"input".to_vec())).await.expect("it runs");
        let is_error = matches!(said.exited.status, ExitStatus::Code(1..=76) | ExitStatus::Signal(6));
        assert!(is_error && said.stdout.is_empty(), "{words:?}: {said:?}");
    }
    for one in [&sandbox, &neighbour] {
        assert_eq!(number(&**one, "add(40, 2)").await, 42, "it lives on");
    }
}
