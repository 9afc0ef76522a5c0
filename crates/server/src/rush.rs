//! When commands come and go, and what may wait until they do not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// So long after the last command began or was answered it is quiet: requests that are sent together come closer than that.
const QUIET: Duration = Duration::from_millis(25);

/// The longest that anything waits for it.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// So many may wait at once: a hundred requests at once and some more.
const WAITING_MAX: usize = 128;

/// The commands of all clients, as far as it matters to those who could get out of their way: to take a container down
/// costs as much as many commands.
pub struct Rush {
    last: Mutex<Instant>,
    places: Semaphore,
}

impl Rush {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), places: Semaphore::new(WAITING_MAX) }
    }

    /// A command begins, or has been answered.
    pub fn stir(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until it is quiet, unless many do or it takes too long.
    pub async fn quiet(&self) {
        let Ok(_place) = self.places.try_acquire() else { return };
        let longest = Instant::now() + WAIT_MAX;
        loop {
            let until = longest.min(self.last() + QUIET);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    async fn time_of_a_wait(rush: &Rush) -> Duration {
        let began = Instant::now();
        rush.quiet().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_it_is_quiet_and_after_a_while_in_any_case() {
        let rush = Arc::new(Rush::new());
        sleep(QUIET).await;
        assert_eq!(time_of_a_wait(&rush).await, Duration::ZERO);
        rush.stir();
        assert_eq!(time_of_a_wait(&rush).await, QUIET);
        let busy = tokio::spawn({
            let rush = rush.clone();
            async move {
                loop {
                    rush.stir();
                    sleep(QUIET / 2).await;
                }
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(time_of_a_wait(&rush).await, WAIT_MAX);
        busy.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn not_more_than_some_wait() {
        let rush = Arc::new(Rush::new());
        let wait = || {
            tokio::spawn({
                let rush = rush.clone();
                async move { time_of_a_wait(&rush).await }
            })
        };
        let waits: Vec<_> = (0..=WAITING_MAX).map(|_| wait()).collect();
        let mut times = Vec::new();
        for wait in waits {
            times.push(wait.await.expect("no panic"));
        }
        assert_eq!(times.iter().filter(|time| time.is_zero()).count(), 1, "{times:?}");
    }
}
