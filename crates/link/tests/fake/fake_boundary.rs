//! A boundary that holds nothing, and tells what was done to it.

use std::sync::{Arc, Mutex};

use agentkernel_core::{
    BackendKind, Boundary, Ended, Error, ErrorKind, HeldGuest, Posture, Resize, Result, SnapshotName, Stopped,
};
use async_trait::async_trait;
use tokio::sync::watch;

/// What was done to a boundary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    pub stopped: bool,
    pub dropped: bool,
}

/// What the test holds of a boundary.
#[derive(Clone)]
pub struct Remote {
    pub fate: Arc<Mutex<Fate>>,
    /// What it was last resized to.
    pub resized: Arc<Mutex<Option<Resize>>>,
    ended: watch::Sender<Option<Ended>>,
}

pub struct FakeBoundary {
    remote: Remote,
}

impl FakeBoundary {
    pub fn new() -> (Box<Self>, Remote) {
        let ended = watch::Sender::new(None);
        let remote = Remote { fate: Arc::default(), resized: Arc::default(), ended };
        (Box::new(Self { remote: remote.clone() }), remote)
    }
}

impl Remote {
    /// The boundary ends by itself.
    pub fn end(&self, ended: Ended) {
        self.ended.send_replace(Some(ended));
    }

    pub fn fate(&self) -> Fate {
        *self.fate.lock().expect("not poisoned")
    }
}

impl Drop for FakeBoundary {
    fn drop(&mut self) {
        self.remote.fate.lock().expect("not poisoned").dropped = true;
    }
}

#[async_trait]
impl Boundary for FakeBoundary {
    fn kind(&self) -> BackendKind {
        BackendKind::Fake
    }

    async fn posture(&self) -> Result<Posture> {
        Ok(Posture::default())
    }

    async fn ended(&self) -> Ended {
        let mut watch = self.remote.ended.subscribe();
        let ended = watch.wait_for(Option::is_some).await.expect("the remote is held");
        ended.clone().expect("some")
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        *self.remote.resized.lock().expect("not poisoned") = Some(*to);
        Ok(())
    }

    async fn may_snapshot(&self, _name: &SnapshotName) -> Result<()> {
        Ok(())
    }

    /// Keeps nothing, and believes only "fresh".
    async fn snapshot(&self, name: &SnapshotName, _about: &str, guest: &dyn HeldGuest) -> Result<()> {
        match &*guest.renew("the steps").await? {
            "fresh" => Ok(()),
            stale => Err(Error::new(ErrorKind::Boot, "renew", stale).on(name)),
        }
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        tokio::task::yield_now().await;
        self.remote.fate.lock().expect("not poisoned").stopped = true;
        Ok(Stopped { cause: None, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}
