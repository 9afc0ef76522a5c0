//! What the tests that measure have in common: numbers from the environment, and our own `bench`.

use std::env::VarError;
use std::path::Path;
use std::process::Stdio;

use agentkernel_testkit::TestEnvironment;

/// A number above 0 of the environment.
#[expect(clippy::disallowed_methods, reason = "whoever measures says how much by variables")]
pub fn number(name: &str, default: u32) -> u32 {
    let word = match std::env::var(name) {
        Ok(word) => word,
        Err(VarError::NotPresent) => return default,
        Err(why) => panic!("{name}: {why}"),
    };
    let number = word.parse().ok().filter(|number| *number > 0);
    number.unwrap_or_else(|| panic!("{name}: '{word}' is not a number above 0"))
}

/// Measures with the host's own engines, and keeps the results where those of all runs are.
pub fn bench(plans: &[&str], flags: &[(&str, u32)]) {
    bench_with(&[], plans, &[], flags);
}

/// Likewise with more words, and with engines where these variables say.
pub fn bench_with(engines: &[(&str, String)], plans: &[&str], words: &[&str], flags: &[(&str, u32)]) {
    let environment = TestEnvironment::new();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmark-results");
    let mut command = environment.command(env!("CARGO_BIN_EXE_agentkernel"));
    command.args(["bench", "run"]).args(plans).args(words).arg("--output").arg(results);
    // The host's own engines unless others are named, and a person who reads.
    command.env_remove("DOCKER_HOST").env_remove("CONTAINER_HOST");
    command.envs(engines.iter().map(|(name, address)| (name, address)));
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    for (flag, number) in flags {
        command.arg(flag).arg(number.to_string());
    }
    let status = command.status().expect("it starts");
    assert!(status.success(), "{status}: why is said above");
}
