//! Work that waits for the host, beside what else there is to do.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Does it in another thread. In a runtime of one thread, which is that of one command, there is nothing else to do, and
/// another thread would cost more than it saves (0.2 ms measured).
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    spawn_blocking(work).await
}
