//! The whole life of a sandbox again and again, with statistics, on every backend that works here:
//! `BENCH_SANDBOXES=20 BENCH_ITERATIONS=5 cargo test --test benchmark_test -- --nocapture --ignored`.

mod measuring;

use measuring::{bench, number};

#[test]
#[ignore = "it measures: BENCH_ITERATIONS (10) times BENCH_SANDBOXES (10), BENCH_MAX_CONCURRENT (50) at once"]
fn benchmark() {
    let sandboxes = number("BENCH_SANDBOXES", 10);
    let count = sandboxes.saturating_mul(number("BENCH_ITERATIONS", 10));
    let at_once = number("BENCH_MAX_CONCURRENT", 50).min(sandboxes);
    let flags = [("--iterations", count), ("--count", count), ("--at-once", at_once)];
    bench(&["startup", "phases", "stress"], &flags);
}
