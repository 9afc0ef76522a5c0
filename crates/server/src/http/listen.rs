//! Accepts connections, and serves the router on each within its limits.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

use super::caller::{Place, Way};
use super::router::router;
use crate::daemon::Daemon;
use crate::tokens::Tokens;

/// The head of a request may be so long.
const HEAD_BYTES: usize = 64 << 10;

/// How long to wait when no connection can be accepted: nothing else is told when one can again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub enum Listener {
    /// The daemon's socket.
    Socket(UnixListener),
    /// A loopback address, for whoever has a token.
    Tcp(TcpListener, SocketAddr, Arc<Tokens>),
}

/// The places for connections of one listener.
pub struct Door {
    places: Arc<Semaphore>,
    places_max: u32,
    /// Set once the daemon stops: idle connections are closed, others after their reply.
    closing: watch::Receiver<bool>,
}

impl Door {
    pub fn new(daemon: &Daemon, closing: watch::Receiver<bool>) -> Self {
        let places_max = u32::try_from(daemon.limits().connections_max).unwrap_or(u32::MAX);
        let places_max = places_max.min(files_max() / 2).max(1);
        Self { places: Arc::new(Semaphore::new(places_max as usize)), places_max, closing }
    }

    /// Waits until no connection is left.
    pub async fn empty(&self) {
        drop(self.places.acquire_many(self.places_max).await);
    }

    /// Accepts until it is dropped.
    pub async fn serve(&self, daemon: Arc<Daemon>, listener: Listener) {
        let router = router(daemon.clone());
        loop {
            let Ok(permit) = self.places.clone().acquire_owned().await else { return };
            match accept(&listener).await {
                Ok(Some((stream, way))) => self.spawn(&daemon, router.clone(), stream, way, permit),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, daemon: &Daemon, router: Router, stream: Stream, way: Way, permit: OwnedSemaphorePermit) {
        let place = Place::new(permit, daemon.metrics.connection());
        let (deadline, closing) = (daemon.limits().head_deadline, self.closing.clone());
        tokio::spawn(attend(router, stream, way, place, deadline, closing));
    }
}

/// Half of the files that this process may open: the other half is for sandboxes.
fn files_max() -> u32 {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    most.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX))
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}
type Stream = Box<dyn Connection>;

/// The next connection; `None` for one that may not come.
async fn accept(listener: &Listener) -> io::Result<Option<(Stream, Way)>> {
    match listener {
        Listener::Socket(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if uid != 0 && uid != geteuid().as_raw() {
                // The modes of socket and folder keep him out already; this is the second lock.
                tracing::warn!(uid, "another user came to the socket");
                return Ok(None);
            }
            Ok(Some((Box::new(stream), Way::Socket { uid })))
        }
        Listener::Tcp(listener, address, tokens) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let way = Way::Tcp { address: *address, tokens: tokens.clone() };
            Ok(Some((Box::new(stream), way)))
        }
    }
}

/// Serves one connection to its end.
async fn attend(
    router: Router,
    stream: Stream,
    way: Way,
    place: Place,
    deadline: Duration,
    mut closing: watch::Receiver<bool>,
) {
    let held = place.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(way.clone());
        request.extensions_mut().insert(held.clone());
        let router = router.clone();
        async move { answered(router, request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let closes = async {
        // An error means that the daemon is gone, which is the same.
        drop(closing.wait_for(|closing| *closing).await);
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closes => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke");
    }
    drop(place);
}

async fn answered(router: Router, request: Request) -> Result<Response, Infallible> {
    router.oneshot(request).await
}
