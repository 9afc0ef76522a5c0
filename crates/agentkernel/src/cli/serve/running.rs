//! The daemon itself, from its start to its end.

use std::sync::Arc;

use agentkernel_api::{PoolRequest, SandboxRequest, ShutdownMode};
use agentkernel_core::{ByteSize, Error, ErrorKind, Limits, Profile, Result};
use agentkernel_oci::Zygote;
use agentkernel_runtime::RunSignal;
use agentkernel_server::{ServeSettings, Serving, Traces};
use tokio::sync::mpsc;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Args;
use crate::cli::{forked, pool};
use crate::environment::Environment;
use crate::errors::{self, Failure};
use crate::signals;

/// Serves until it is told to end.
pub fn serve(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    if args.background {
        // Fails only for the leader of a process group, who is out of the terminal's reach already.
        rustix::process::setsid().ok();
    }
    let warm = warm(args, environment)?;
    let settings = settings(args, environment, warm);
    // Before the runtime, which has threads.
    let zygote = forked(Zygote::fork())?;
    let traces = log(environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Error::new(ErrorKind::Host, "start the async runtime", why))?;
    let served = runtime.block_on(run(settings, zygote, environment));
    runtime.shutdown_background();
    drop(traces);
    served?;
    Ok(0)
}

/// The kind that a run without flags takes, and how many of it are to be warm.
fn warm(args: &Args, environment: &Environment) -> Result<Option<PoolRequest>, Failure> {
    let Some(size) = args.pool else { return Ok(None) };
    let sandbox = pool::usual_kind(environment)?;
    Ok(Some(PoolRequest { sandbox, low: size.low, high: size.high }))
}

fn settings(args: &Args, environment: &Environment, warm: Option<PoolRequest>) -> ServeSettings {
    let mut settings = ServeSettings::new(environment.daemon_home());
    settings.tcp = args.tcp;
    settings.version = env!("CARGO_PKG_VERSION").into();
    if let Some(most) = args.sandboxes {
        settings.limits.sandboxes_max = most;
        settings.limits.sandboxes_per_owner = settings.limits.sandboxes_per_owner.max(most);
    }
    if let Some(time) = args.drain_timeout {
        settings.limits.drain_deadline = time;
    }
    if let Some(PoolRequest { sandbox, high, .. }) = &warm {
        let pool = &mut settings.pool;
        pool.warm_max = pool.warm_max.max(usize::try_from(*high).unwrap_or(usize::MAX));
        // What was asked for by number must not fail by the memory that so many promise.
        if let Some(all) = ByteSize::bytes(promised_to_one(sandbox).saturating_mul(u64::from(*high))) {
            pool.memory_max = pool.memory_max.max(all);
        }
    }
    settings.warm = warm;
    settings
}

/// The memory that a warm sandbox of this kind is promised. Until somebody asks for one, it is that of its profile where the
/// size can be changed.
fn promised_to_one(sandbox: &SandboxRequest) -> u64 {
    let asked = sandbox.memory.as_deref().and_then(|memory| memory.parse::<ByteSize>().ok());
    let profile = sandbox.profile.as_deref().and_then(|profile| profile.parse::<Profile>().ok());
    let usual = Limits::of(profile.unwrap_or(Profile::Restrictive)).memory.value();
    asked.max(usual).map_or(0, ByteSize::get)
}

/// What the daemon logs goes to stderr, which is its log when it runs in the background; spans go to a collector, too, if
/// there is one, for as long as the value lives.
fn log(environment: &Environment) -> Result<Option<Traces>> {
    let words = environment.log().unwrap_or_else(|| "info".into());
    let filter = tracing_subscriber::EnvFilter::try_new(&words);
    let filter = filter.unwrap_or_else(|why| {
        errors::say(&format!("read the environment: AGENTKERNEL_LOG: {why}"));
        tracing_subscriber::EnvFilter::new("info")
    });
    let to = |collector: String| Traces::to(&collector, env!("CARGO_PKG_VERSION"));
    let traces = environment.collector().map(to).transpose()?;
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let spans = traces.as_ref().map(Traces::layer);
    tracing_subscriber::registry().with(text.with_filter(filter)).with(spans).init();
    Ok(traces)
}

async fn run(settings: ServeSettings, zygote: Arc<Zygote>, environment: &Environment) -> Result<()> {
    let registry = environment.registry(zygote);
    let signals = signals::listen(false);
    let signals = signals.map_err(|why| Error::new(ErrorKind::Host, "listen to signals", why))?;
    agentkernel_server::serve(settings, registry, move |serving| {
        announce(&serving);
        tokio::spawn(end_on_signals(serving, signals));
    })
    .await
}

fn announce(serving: &Serving) {
    errors::say(&format!("listening on {}", serving.socket.display()));
    if let Some(address) = serving.tcp {
        errors::say(&format!(
            "listening on http://{address}, for the tokens in {}",
            serving.tokens.display()
        ));
    }
}

/// The first signal drains, the second kills.
async fn end_on_signals(serving: Serving, mut signals: mpsc::Receiver<RunSignal>) {
    let mut mode = ShutdownMode::Drain;
    while let Some(signal) = signals.recv().await {
        if matches!(signal, RunSignal::End(_)) {
            errors::say(match mode {
                ShutdownMode::Drain => "ending when the commands under way have; a second signal kills them",
                ShutdownMode::Kill => "killing everything",
            });
            serving.stop(mode);
            mode = ShutdownMode::Kill;
        }
    }
}
