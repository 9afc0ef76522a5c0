use std::path::Path;

use super::*;
use crate::suite::self_test;

/// A machine whose only target is this script, made ready for a benchmark without a first try.
fn fake(script: &str, benchmark: Benchmark, deadline: Duration) -> (Machine, PipeWriter) {
    let site = Site { deadline, ..self_test::site(Path::new("/nowhere")) };
    let doer = Box::new(self_test::Script(script.to_owned()));
    let course = doer.course(benchmark, &site).expect("it does everything");
    let (interrupt, trigger) = Interrupt::new().expect("a pipe");
    let mut machine = Machine::of(site, vec![Target { name: "fake".into(), doer }], interrupt);
    let set_up = machine.set_up(0, benchmark.key(), course);
    assert!(set_up.is_ok(), "{set_up:?}");
    (machine, trigger)
}

fn take(script: &str, benchmark: Benchmark, deadline_ms: u64) -> std::result::Result<Sample, Failure> {
    let (machine, _trigger) = fake(script, benchmark, Duration::from_millis(deadline_ms));
    machine.take(&Task { benchmark, target: 0, round: Some(0) })
}

fn refused(script: &str, benchmark: Benchmark, deadline_ms: u64) -> &'static str {
    match take(script, benchmark, deadline_ms) {
        Err(Failure::Refused(refusal)) => crate::self_test::name(&refusal.cause),
        other => panic!("{script}: {other:?}"),
    }
}

#[test]
fn what_fails_lies_or_hangs_is_refused_and_what_is_right_is_timed() {
    let startup = Benchmark::Startup;
    assert_eq!(refused("echo ready-7; exit 1", startup, 60_000), "wrong exit");
    assert_eq!(refused("echo ready-8", startup, 60_000), "wrong output");
    assert_eq!(refused("echo ready-7; echo more", startup, 60_000), "wrong output");
    assert_eq!(refused("true", startup, 60_000), "empty output");
    assert_eq!(refused("echo ready-7; exec sleep 1000", startup, 300), "timed out");
    let sample = take("echo ready-7", startup, 60_000).expect("right");
    assert!(sample.total_ns > 0 && sample.parts.is_empty());
}

#[test]
fn phases_and_their_residual_are_the_whole_and_others_are_refused() {
    let json = |phases: &str| format!("echo '{{\"stdout\":\"ready-7\\\\n\",\"phases_ms\":{{{phases}}}}}'");
    let phases = Benchmark::Phases;
    let sample = take(&json("\"boot\":0.001,\"exec\":0.002"), phases, 60_000).expect("right");
    assert_eq!((sample.parts["boot"], sample.parts["queue"]), (Some(1000), None));
    assert_eq!(sample.parts.values().copied().flatten().sum::<u64>(), sample.total_ns);
    assert_eq!(refused(&json("\"boot\":9999999"), phases, 60_000), "incredible");
    assert_eq!(refused(&json(""), phases, 60_000), "incredible");
    assert_eq!(refused("echo ready-7", phases, 60_000), "incredible");
}

#[test]
fn an_interruption_ends_what_runs() {
    let (machine, trigger) = fake("exec sleep 1000", Benchmark::Startup, Duration::from_secs(60));
    drop(trigger);
    let taken = machine.take(&Task { benchmark: Benchmark::Startup, target: 0, round: None });
    assert!(matches!(taken, Err(Failure::Interrupted)), "{taken:?}");
}
