//! The daemon from its start to its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use agentkernel_api::{CauseOfDeath, ShutdownMode};
use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_pool::Pool;
use agentkernel_runtime::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::adopt;
use crate::daemon::Daemon;
use crate::home::Home;
use crate::http::listen::{Door, Listener};
use crate::http::pools;
use crate::metrics::Metrics;
use crate::rush::Rush;
use crate::settings::ServeSettings;
use crate::snapshots;
use crate::state::{Found, State};
use crate::store::{Row, Store};
use crate::tokens::{Tokens, random_hex};

/// Where the daemon can be reached, and how it can be stopped: what the program is told once it can.
#[derive(Clone)]
pub struct Serving {
    /// The socket.
    pub socket: PathBuf,
    /// The address, if it listens on TCP.
    pub tcp: Option<SocketAddr>,
    /// The file of the tokens for that.
    pub tokens: PathBuf,
    daemon: Arc<Daemon>,
}

impl Serving {
    /// Orders the daemon to stop, as a signal does it. A kill after a drain ends the patience.
    pub fn stop(&self, mode: ShutdownMode) {
        self.daemon.order_stop(mode);
    }
}

/// Serves until it is ordered to stop, by [`Serving::stop`] or over the API; then nothing of any sandbox is left.
/// Must be called in a tokio runtime with time and I/O. Dropping the future instead of stopping is like a crash: what
/// outlives a daemon is got back by the next one in the same folder.
pub async fn serve(settings: ServeSettings, registry: Registry, ready: impl FnOnce(Serving)) -> Result<()> {
    let home = Home::open(&settings.home)?;
    let (store, living) = Store::open(&home.store(), settings.limits.history_max)?;
    let served = serve_from(&home, (store.clone(), living), settings, registry, ready).await;
    if let Err(failure) = store.close().await {
        // Nothing is lost: the next daemon reads the journal.
        tracing::warn!(error = %failure.error, "the store was not closed");
    }
    served
}

/// The same in a folder that is open.
async fn serve_from(
    home: &Home,
    (store, living): (Store, Vec<Row>),
    settings: ServeSettings,
    registry: Registry,
    ready: impl FnOnce(Serving),
) -> Result<()> {
    let tcp = match settings.tcp {
        Some(address) => Some(listen_tcp(address, home).await?),
        None => None,
    };
    let daemon = Arc::new(daemon(settings, registry, store)?);
    adopt::adopt(&daemon, living).await;
    snapshots::clear_up(&daemon).await;
    if let Some(request) = &daemon.settings.warm {
        let owner = agentkernel_api::owner_of(rustix::process::geteuid().as_raw());
        pools::set_target(&daemon, request, &owner).await.map_err(|failure| *failure.error)?;
    }
    let (listener, socket) = home.listen()?;
    let serving = Serving {
        socket: socket.path().to_owned(),
        tcp: tcp.as_ref().map(|(_, address, _)| *address),
        tokens: home.tokens(),
        daemon: daemon.clone(),
    };
    let mut listeners = vec![Listener::Socket(listener)];
    listeners.extend(tcp.map(|(listener, address, tokens)| Listener::Tcp(listener, address, tokens)));
    ready(serving);
    attend(&daemon, listeners).await;
    for (_, pool) in &daemon.pools {
        pool.shutdown().await?;
    }
    Ok(())
}

/// A daemon that nobody can reach yet.
pub fn daemon(settings: ServeSettings, registry: Registry, store: Store) -> Result<Daemon> {
    let pools = registry.all().iter().map(|backend| {
        let pool = Pool::new(backend.clone(), settings.pool.clone())?;
        Ok((backend.kind(), Arc::new(pool)))
    });
    Ok(Daemon {
        pools: pools.collect::<Result<_>>()?,
        registry,
        state: State::start(&settings.limits),
        store,
        rush: Rush::new(),
        metrics: Metrics::new(),
        buffers: Arc::new(Semaphore::new(settings.limits.output_bytes_total / 1024)),
        bodies: Arc::new(Semaphore::new(settings.limits.body_bytes_total / 1024)),
        instance: random_hex::<8>()?,
        began: Instant::now(),
        stop: watch::channel(None).0,
        settings,
    })
}

/// Only what cannot be reached from elsewhere: tokens go over it in the clear.
async fn listen_tcp(address: SocketAddr, home: &Home) -> Result<(TcpListener, SocketAddr, Arc<Tokens>)> {
    let what = "listen on TCP";
    if !address.ip().is_loopback() {
        return Err(Error::new(ErrorKind::Usage, what, "it is not a loopback address")
            .on(address)
            .hint("use 127.0.0.1:PORT, and a tunnel to reach it from elsewhere"));
    }
    let tokens = Arc::new(Tokens::read_or_make(&home.tokens())?);
    let failed = |why| Error::new(ErrorKind::Host, what, why).on(address);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address, tokens))
}

/// Serves until the order to stop, and follows it.
async fn attend(daemon: &Arc<Daemon>, listeners: Vec<Listener>) {
    let (close, closing) = watch::channel(false);
    let doors: Vec<Arc<Door>> =
        listeners.iter().map(|_| Arc::new(Door::new(daemon, closing.clone()))).collect();
    let mut accepting = JoinSet::new();
    for (door, listener) in doors.iter().zip(listeners) {
        let (door, daemon) = (door.clone(), daemon.clone());
        accepting.spawn(async move { door.serve(daemon, listener).await });
    }
    let mut order = daemon.stop.subscribe();
    // An error is not possible while the daemon is here.
    drop(order.wait_for(Option::is_some).await);
    end_all(daemon).await;
    // From here on nobody is let in; those who are may get their last reply.
    accepting.shutdown().await;
    close.send_replace(true);
    for door in doors {
        if timeout(daemon.limits().change_deadline, door.empty()).await.is_err() {
            tracing::warn!("connections were still open when the daemon ended");
        }
    }
}

/// Ends every sandbox. When drained, runs and commands may end in their time first.
async fn end_all(daemon: &Arc<Daemon>) {
    let Ok(all) = daemon.state.close().await else { return };
    let mut order = daemon.stop.subscribe();
    if *daemon.stop.borrow() == Some(ShutdownMode::Drain) {
        tokio::select! {
            () = quiet(&all) => {}
            () = tokio::time::sleep(daemon.limits().drain_deadline) => {}
            _ = order.wait_for(|order| *order == Some(ShutdownMode::Kill)) => {}
        }
    }
    for one in &all {
        one.fate.decide(CauseOfDeath::Shutdown, "the daemon was stopped");
    }
    for one in &all {
        // Its keeper has deadlines of its own.
        one.ended().await;
    }
}

/// Waits until no run is left and nobody uses any other sandbox.
async fn quiet(all: &[Found]) {
    for one in all {
        if one.now().run {
            one.ended().await;
        } else if let Some(guest) = &one.guest {
            while guest.uses.idle_since().is_none() && guest.fate.verdict().is_none() {
                tokio::select! {
                    _ = guest.fate.decided() => {}
                    () = tokio::time::sleep(QUIET_INTERVAL) => {}
                }
            }
        }
    }
}

/// How often a sandbox that is used is looked at while the daemon is drained.
const QUIET_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);
