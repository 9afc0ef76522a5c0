//! A module that gives the host what is none of its memory.

use agentkernel_core::{ErrorKind, ExitStatus, Stdin};
use serde_json::json;

use crate::fixture::{File, HOSTILE, called, hear, limits, tool};

/// What it asks for, a call on each line. None of it may succeed; each is an error number, or a trap.
const CALLS: &str = include_str!("modules/hostile.calls");

#[tokio::test]
async fn pointers_and_lengths_of_no_memory_are_errors_of_the_module_whatever_it_calls() {
    let file = File::of(HOSTILE);
    let (sandbox, neighbour) = (file.sandbox(limits()).await, file.sandbox(limits()).await);
    for call in CALLS.lines() {
        match called(&*sandbox, call).await {
            Ok(returned) => {
                let number = returned.values[0].as_i64().expect("an error number");
                assert!((1..=76).contains(&number), "{call}: {number}");
            }
            Err(error) => assert_eq!(error.kind, ErrorKind::Trapped, "{call}: {error}"),
        }
        for one in [&sandbox, &neighbour] {
            assert_eq!(called(&**one, "add(40, 2)").await.expect(call).values, [json!(42)]);
        }
    }
    sandbox.stop().await.expect("stops");
    neighbour.stop().await.expect("stops");
}

#[tokio::test]
async fn words_variables_and_input_go_nowhere_but_into_the_modules_memory() {
    let file = File::of(HOSTILE);
    let sandbox = file.sandbox(limits()).await;
    for words in [&[][..], &["two"], &["two", "three"], &["two", "three", "four"]] {
        let mut command = tool(words);
        command.env = vec![(b"NAME".to_vec(), b"value".to_vec())];
        command.stdin = Stdin::Pipe;
        let mut process = sandbox.exec(&command).await.expect("starts");
        let control = process.control();
        // Only the last one reads: the others may be over before it is written.
        let written = control.write_stdin("input".into()).await;
        assert!(written.is_ok() || words.len() < 3, "{written:?}");
        let (heard, exited) = hear(process.as_mut()).await;
        assert!(heard.stdout.is_empty(), "{heard:?}");
        let is_error = matches!(exited.status, ExitStatus::Code(1..=76) | ExitStatus::Signal(6));
        assert!(is_error, "{words:?}: {:?}, {heard:?}", exited.status);
    }
    sandbox.stop().await.expect("stops");
}
