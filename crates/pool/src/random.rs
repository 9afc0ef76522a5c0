//! Chance: for names that nobody else has, and so that not everything happens at once.

use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result, SandboxName};
use rustix::rand::{GetRandomFlags, getrandom};

/// A name that nothing else on this host has.
pub(crate) fn fresh_name() -> Result<SandboxName> {
    let why = "the kernel gives no random bytes";
    let failed = || Error::new(ErrorKind::Host, "name a warm sandbox", why);
    random_u64().map(SandboxName::from_random).ok_or_else(failed)
}

/// Between three quarters of this time and all of it.
pub(crate) fn jittered(time: Duration) -> Duration {
    // Without chance things happen at once, which is slower and nothing worse.
    let drawn = u32::try_from(random_u64().unwrap_or_default() % 1024).unwrap_or_default();
    time.saturating_sub(time / 4096 * drawn)
}

fn random_u64() -> Option<u64> {
    let mut bits = [0; 8];
    let length = getrandom(&mut bits, GetRandomFlags::empty()).ok()?;
    (length == bits.len()).then(|| u64::from_ne_bytes(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_away_a_quarter_at_most_and_differs() {
        let time = Duration::from_secs(16);
        let drawn: Vec<Duration> = (0..200).map(|_| jittered(time)).collect();
        assert!(drawn.iter().all(|one| (Duration::from_secs(12)..=time).contains(one)), "{drawn:?}");
        assert!(drawn.iter().any(|one| *one != drawn[0]));
    }
}
