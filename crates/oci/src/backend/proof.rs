//! Reads what a sandbox is, before anybody gets it.

use agentkernel_core::{Error, ErrorKind, Posture, Result};

use crate::beside::beside;

/// Reads the posture beside what else there is to do.
pub(super) async fn read(posture: impl FnOnce() -> Posture + Send + 'static) -> Result<Posture> {
    beside(posture).await.map_err(|why| Error::new(ErrorKind::Internal, "read the posture", why))
}
