//! Clients that go away while their sandbox is being made.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::*;

/// Lets the making of a sandbox get on `polls` times, and goes away. Whether it was made before that.
async fn go_away_after(polls: usize, daemon: &Arc<Daemon>, run: bool) -> bool {
    let order =
        Order { owner: "somebody".into(), request: SandboxRequest::default(), run, id: None, from: None };
    let mut made = pin!(make(daemon, order));
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(made.as_mut().poll(context).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_leaves_no_sandbox_and_no_promise() {
    let folder = tempfile::tempdir().expect("temp dir");
    let daemon = Daemon::on_fakes(folder.path());
    for run in [true, false] {
        let mut polls = 0;
        while !go_away_after(polls, &daemon, run).await {
            polls += 1;
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        assert!(polls > 1, "it was made at once: nobody could go away meanwhile");
    }
    let empty = async {
        loop {
            let counts = daemon.state.count().await.expect("the owner lives");
            if (counts.living(), counts.promised_bytes) == (0, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), empty).await;
    assert!(gone.is_ok(), "{:?}", daemon.state.list("somebody").await.expect("the owner lives"));
}
