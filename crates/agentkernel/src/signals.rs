//! What is said to the program by signals, on its way into the run.

use std::io;

use agentkernel_runtime::RunSignal;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::terminal;

/// Signals that may wait for the run.
const SIGNALS_WAITING: usize = 8;

/// The signals by which a user, or the system, wants a program to end.
const ENDING: [SignalKind; 4] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];

/// Listens from now on. With `resizes`, also to changes of the terminal's size.
pub fn listen(resizes: bool) -> io::Result<mpsc::Receiver<RunSignal>> {
    let (sender, receiver) = mpsc::channel(SIGNALS_WAITING);
    let ignored = ignored_signals();
    for kind in ENDING.into_iter().filter(|kind| !is_ignored(ignored, *kind)) {
        let number = u8::try_from(kind.as_raw_value()).unwrap_or_default();
        pass_on(signal(kind)?, sender.clone(), move || RunSignal::End(number));
    }
    if resizes {
        let resized = signal(SignalKind::window_change())?;
        pass_on(resized, sender, || RunSignal::Resize(terminal::size()));
    }
    Ok(receiver)
}

fn pass_on(
    mut signal: Signal,
    sender: mpsc::Sender<RunSignal>,
    meaning: impl Fn() -> RunSignal + Send + 'static,
) {
    tokio::spawn(
        async move { while signal.recv().await.is_some() && sender.send(meaning()).await.is_ok() {} },
    );
}

/// The signals that our caller wants ignored, as a mask: `nohup` does so with SIGHUP, a shell with
/// SIGINT for programs in the background.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_ignored(mask: u64, kind: SignalKind) -> bool {
    mask & (1 << (kind.as_raw_value() - 1)) != 0
}
