//! Modules that are nearly valid, and texts that are nearly calls.

use std::time::Duration;

use agentkernel_core::{Backend as _, Call, Command, ErrorKind};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Builder;

use crate::fixture::{File, LIBRARY, TOOL, backend, hear, limits, tool};

/// Some bytes changed, and perhaps the end cut off.
fn changed(mut wasm: Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    for (place, byte) in changes {
        *place.get_mut(&mut wasm) = *byte;
    }
    let kept = cut.map_or(wasm.len(), |cut| cut.index(wasm.len()));
    wasm.truncate(kept);
    wasm
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_file_holds_it_is_refused_or_run_within_its_limits(
        is_tool: bool,
        changes in prop::collection::vec(any::<(Index, u8)>(), 1..4),
        cut in prop::option::weighted(0.2, any::<Index>()),
        letter in "[a-z]",
    ) {
        let wasm = wat::parse_str(if is_tool { TOOL } else { LIBRARY }).expect("valid");
        let file = File::of(changed(wasm, &changes, cut));
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let sandbox = match backend().boot(&file.spec(limits())).await {
                Ok(booted) => booted.sandbox,
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::CommandNotExecutable, "{error}");
                    return;
                }
            };
            let timeout = Some(Duration::from_millis(20));
            let command = Command { timeout, ..tool(&[&letter]) };
            match sandbox.exec(&command).await {
                Ok(mut process) => drop(hear(process.as_mut()).await),
                Err(error) => assert_eq!(error.kind, ErrorKind::CommandNotExecutable, "{error}"),
            }
            let call = Call { function: "add".into(), arguments: vec![1.into(), 2.into()], timeout };
            if let Err(error) = sandbox.call(&call).await {
                let is_expected =
                    matches!(error.kind, ErrorKind::Usage | ErrorKind::Trapped | ErrorKind::Timeout);
                assert!(is_expected, "{error}");
            }
            sandbox.stop().await.expect("stops");
        });
    }

    #[test]
    fn whatever_is_typed_is_a_call_or_told_why_it_is_none(text in r#"[a-z ]{0,4}[(\[]?[0-9a-z", \[\]{}:.-]{0,12}[)\]]?"#) {
        match text.parse::<Call>() {
            Ok(call) => prop_assert!(!call.function.is_empty()),
            Err(why) => prop_assert!(why.ends_with("; write NAME(ARGUMENT, …)"), "{}", why),
        }
    }
}
