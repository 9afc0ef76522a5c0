//! Threads for modules, apart from those of the program: whoever computes for ever keeps other modules waiting, and never
//! the daemon.

use std::num::NonZero;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::thread::available_parallelism;

use agentkernel_core::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinHandle};

/// As many threads as processors, once they are needed.
#[derive(Default)]
pub(crate) struct Workers {
    runtime: OnceLock<Runtime>,
}

/// Ends a task with the value.
struct Leash(AbortHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Workers {
    /// Begins some work on them.
    pub(crate) fn spawn<F>(&self, work: F) -> Result<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        if self.runtime.get().is_none() {
            let threads = available_parallelism().map_or(1, NonZero::get);
            let runtime = Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("wasm-worker")
                .enable_all()
                .build()
                .map_err(|why| Error::new(ErrorKind::Host, "start threads for modules", why))?;
            if let Err(second) = self.runtime.set(runtime) {
                second.shutdown_background(); // somebody else was quicker
            }
        }
        let runtime = self.runtime.get().unwrap_or_else(|| unreachable!("it was set above"));
        Ok(runtime.spawn(work))
    }

    /// Does some work that is mostly over before a thread could be woken for it: here for one stretch, and there if that
    /// was not enough. Dropping the future ends it.
    pub(crate) async fn perform<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut work: Pin<Box<F>> = Box::pin(work);
        let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if let Poll::Ready(done) = first {
            return done;
        }
        let task = self.spawn(work)?;
        let _leash = Leash(task.abort_handle());
        task.await.unwrap_or_else(|why| Err(Error::new(ErrorKind::Internal, "run the module", why)))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops us may be a task, which must not wait.
            runtime.shutdown_background();
        }
    }
}
