//! A sign of life while a boot takes long: on a terminal only.

use std::convert::Infallible;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::Notify;

use crate::terminal;

/// A boot that is shorter needs no sign of life.
const PATIENCE: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);

/// Waits until `ready` is notified, showing a spinner if that takes long; then for ever.
pub async fn show(ready: &Notify) -> Infallible {
    if terminal::is_stderr() && tokio::time::timeout(PATIENCE, ready.notified()).await.is_err() {
        let spinner = Spinner::new();
        ready.notified().await;
        drop(spinner);
    }
    std::future::pending().await
}

/// Removes itself from the screen when dropped, even if the run fails while it turns.
struct Spinner(ProgressBar);

impl Spinner {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message("booting the sandbox");
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What is being done, step by step: a spinner on a terminal, a line for each step elsewhere.
pub struct Steps(Option<Spinner>);

impl Steps {
    /// Shows nothing yet.
    pub fn new() -> Self {
        Self(terminal::is_stderr().then(Spinner::new))
    }

    /// Tells the step that begins.
    pub fn say(&self, step: &str) {
        match &self.0 {
            Some(spinner) => spinner.0.set_message(step.to_owned()),
            None => eprintln!("{step} …"),
        }
    }
}
