//! Many sandboxes, as many at once as may be, on every backend that works here:
//! `STRESS_VM_COUNT=100 STRESS_MAX_CONCURRENT=10 cargo test --test stress_test -- --nocapture --ignored`.

mod measuring;

use measuring::{bench, number};

#[test]
#[ignore = "it measures: STRESS_VM_COUNT (10) sandboxes, STRESS_MAX_CONCURRENT (50) of them at once"]
fn stress() {
    let count = number("STRESS_VM_COUNT", 10);
    let at_once = number("STRESS_MAX_CONCURRENT", 50).min(count);
    bench(&["stress"], &[("--count", count), ("--at-once", at_once)]);
}
