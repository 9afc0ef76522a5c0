//! Waits that are shorter than those of the runtime, whose timers have milliseconds.

use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// The kernel's own timer.
#[derive(Debug)]
pub(crate) struct Alarm(Receiver);

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        // No pipe, and read as one is.
        Receiver::from_owned_fd_unchecked(timer).map(Self)
    }

    /// Waits so long.
    pub(crate) async fn after(&self, time: Duration) -> io::Result<()> {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would be never.
        let value = Timespec::try_from(time.max(Duration::from_nanos(1))).map_err(io::Error::other)?;
        timerfd_settime(
            &self.0,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: once, it_value: value },
        )?;
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 8]) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_waits_so_long_again_and_again_and_one_that_was_given_up_is_not_heard() {
        let alarm = Alarm::new().expect("made");
        let short = Duration::from_micros(300);
        for _ in 0..3 {
            let began = Instant::now();
            alarm.after(short).await.expect("waited");
            assert!(began.elapsed() >= short);
        }
        let given_up = tokio::time::timeout(Duration::from_millis(1), alarm.after(short * 10_000)).await;
        assert!(given_up.is_err(), "it takes three seconds");
        alarm.after(Duration::ZERO).await.expect("waited");
    }
}
