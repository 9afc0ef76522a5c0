//! Calls of exported functions.

use std::time::Duration;

use agentkernel_core::{Call, ErrorKind};
use serde_json::json;

use crate::fixture::{File, LIBRARY, TOOL, called, limits};

#[tokio::test]
async fn functions_return_what_they_compute() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    for (call, values) in [
        ("add(40, 2)", vec![json!(42)]),
        ("add(2147483647, 1)", vec![json!(i32::MIN)]),
        ("half(3)", vec![json!(1.5)]),
        ("wide(9223372036854775806)", vec![json!(i64::MAX)]),
        ("pair()", vec![json!(-1), json!(0.5)]),
        ("nothing()", vec![]),
        ("ready()", vec![json!(7)]),
    ] {
        assert_eq!(called(&*sandbox, call).await.expect(call).values, values, "{call}");
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn every_call_has_an_instance_of_its_own_also_after_one_that_failed() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    for _ in 0..50 {
        assert_eq!(called(&*sandbox, "count()").await.expect("returned").values, [json!(1)]);
        assert_eq!(called(&*sandbox, "divide(1, 0)").await.expect_err("a trap").kind, ErrorKind::Trapped);
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_a_hundred_instances() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    let calls = (0..100).map(|_| called(&*sandbox, "count()"));
    for returned in futures_util::future::join_all(calls).await {
        assert_eq!(returned.expect("returned").values, [json!(1)]);
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn what_goes_wrong_in_a_function_is_told_by_its_cause() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    for (call, why) in [
        ("divide(1, 0)", "integer divide by zero"),
        ("divide(-2147483648, -1)", "integer overflow"),
        ("outside()", "out of bounds memory access"),
        ("deep(0)", "call stack exhausted"),
        ("leave()", "it ended itself with exit code 4"),
    ] {
        let error = called(&*sandbox, call).await.expect_err(call);
        assert_eq!(error.kind, ErrorKind::Trapped, "{call}");
        assert!(error.why.contains(why), "{call}: {error}");
    }
    assert_eq!(called(&*sandbox, "add(1, 1)").await.expect("it lives on").values, [json!(2)]);
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn wrong_calls_are_told_what_would_be_right() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    for (call, why) in [
        ("sub(1, 2)", "the module exports no function of that name, but _initialize, ready, add, half,"),
        ("memory()", "the module exports no function of that name"),
        ("add(1)", "it takes 2 and not 1 arguments: (i32, i32) -> i32"),
        ("add(1, 2, 3)", "it takes 2 and not 3 arguments"),
        ("add(1, 2.5)", "argument 2 is 2.5, which is no i32: (i32, i32) -> i32"),
        ("add(1, \"2\")", "argument 2 is \"2\", which is no i32"),
        ("reference(null)", "its type is ((ref null func)) -> i32"),
    ] {
        let error = called(&*sandbox, call).await.expect_err(call);
        assert_eq!(error.kind, ErrorKind::Usage, "{call}: {error}");
        assert!(error.why.contains(why), "{call}: {error}");
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn a_call_that_computes_for_ever_is_given_up_and_others_are_not() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    let spin = Call { timeout: Some(Duration::from_millis(30)), .."spin()".parse().expect("a call") };
    let (spun, added) = tokio::join!(sandbox.call(&spin), called(&*sandbox, "add(1, 2)"));
    let error = spun.expect_err("it was given up");
    assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::Timeout, "spin"));
    assert_eq!(added.expect("returned").values, [json!(3)]);
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn hostile_pointers_and_lengths_are_errors_of_the_module() {
    let file = File::of(LIBRARY);
    let sandbox = file.sandbox(limits()).await;
    for (place, length) in [("0", "4294967295"), ("65535", "2"), ("4294967295", "4294967295"), ("65536", "1")]
    {
        let call = format!("hostile({place}, {length})");
        // An error number, or a trap: never more than that.
        match called(&*sandbox, &call).await {
            Ok(returned) => assert_ne!(returned.values, [json!(0)], "{call}"),
            Err(error) => assert_eq!(error.kind, ErrorKind::Trapped, "{call}"),
        }
    }
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn a_call_ends_with_its_sandbox() {
    let file = File::of(LIBRARY);
    let spec = file.spec(limits());
    let booted = agentkernel_core::Backend::boot(&*crate::fixture::backend(), &spec).await.expect("boots");
    let sandbox = booted.sandbox;
    sandbox.set_lifetime(Duration::from_millis(30)).await.expect("set");
    let error = called(&*sandbox, "spin()").await.expect_err("it ended");
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    let error = called(&*sandbox, "add(1, 2)").await.expect_err("it is over");
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    let stopped = sandbox.stop().await.expect("stops");
    assert_eq!(stopped.cause, Some(agentkernel_core::CauseOfDeath::Timeout));
}

#[tokio::test]
async fn a_command_has_functions_as_well() {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    // It has no words, and so nothing to do.
    assert_eq!(called(&*sandbox, "_start()").await.expect("returned").values, [json!(null); 0]);
    sandbox.stop().await.expect("stops");
}
