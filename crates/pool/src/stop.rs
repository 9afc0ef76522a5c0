//! How the pool takes a sandbox down that nobody has had.

use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};

use crate::meter::Meter;
use crate::slot::{Dead, Slot, Warm};

/// Stops a sandbox, and tells if something of it may be left.
pub(crate) async fn stop_unused(slot: Slot<Warm>, deadline: Duration, meter: &Meter) -> Result<()> {
    let name = slot.sandbox().name().clone();
    let stopped = tokio::time::timeout(deadline, slot.stop()).await.unwrap_or_else(|_| {
        let why = format!("it did not end within {} s", deadline.as_secs());
        Err(Error::new(ErrorKind::Cleanup, "stop the sandbox", why).on(&name))
    });
    if let Err(error) = &stopped {
        meter.stop_failed(error);
        tracing::warn!(sandbox = %name, %error, "a warm sandbox was not stopped");
    }
    stopped.map(|_: Slot<Dead>| ())
}
