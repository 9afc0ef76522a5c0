//! The hyperlight backend on KVM. Where the processor has none that works, one test boots an emulated host
//! (`scripts/kvm-lab`) and runs the others there: what they prove is function, and no figure of them means anything.

mod bare;
mod commands;
mod hostile;
mod leases;
mod limits;
mod measure;
mod modules;
mod rig;
mod table;

use std::time::Duration;

use agentkernel_kvm::KvmLevel;
use agentkernel_testkit::{tests_hold_in_kvm_lab, tool_or_skip};

/// The lab boots in some ten seconds, and these tests take half a minute in it.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the emulated host is made with.
const TOOLS: [&str; 5] = ["gcc", "qemu-system-x86_64", "busybox", "mkfs.ext4", "setpriv"];

/// How many tests there are besides this one.
const TESTS: usize = 23;

#[test]
fn everything_holds_on_kvm_or_in_an_emulated_host_that_has_it() {
    // The others run here then.
    if agentkernel_kvm::probe() == KvmLevel::Hardware || TOOLS.iter().any(|name| tool_or_skip(name).is_none())
    {
        return;
    }
    rig::root();
    let (tests, required) =
        (std::env::current_exe().expect("this program"), format!("AGENTKERNEL_REQUIRE={}", rig::KVM));
    let program = [tests.to_str().expect("a path of text"), "--test-threads=2"];
    // This one is run there, too, and finds nothing to do.
    tests_hold_in_kvm_lab(DEADLINE, &["--env", &required], &program, &[], TESTS + 1);
}
