//! What is counted, for Prometheus.

use std::sync::Mutex;

use agentkernel_api::{CauseOfDeath, Phases};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};

/// Bounds of the buckets in seconds: from what a warm sandbox takes to what a slow host does.
const BUCKETS: [f64; 14] =
    [0.000_01, 0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBackend {
    backend: String,
}

/// Counters, and the registry that writes them.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    phases: Family<Phase, Histogram>,
    ended: Family<Cause, Counter>,
    stop_failures: Counter,
    connections: Gauge,
    sandboxes: Family<InState, Gauge>,
    promised_bytes: Gauge,
    warm: Family<OfBackend, Gauge>,
    hits: Family<OfBackend, Gauge>,
    misses: Family<OfBackend, Gauge>,
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Self {
        let mut all = Registry::with_prefix("agentkernel");
        let metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            phases: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            ended: Family::default(),
            stop_failures: Counter::default(),
            connections: Gauge::default(),
            sandboxes: Family::default(),
            promised_bytes: Gauge::default(),
            warm: Family::default(),
            hits: Family::default(),
            misses: Family::default(),
        };
        all.register("requests", "Requests that were answered", metrics.requests.clone());
        all.register("phase_seconds", "Time of runs and commands by phase", metrics.phases.clone());
        all.register("sandboxes_ended", "Sandboxes that ended, by cause", metrics.ended.clone());
        let stop_failures = metrics.stop_failures.clone();
        all.register("stop_failures", "Sandboxes of which something may be left", stop_failures);
        all.register("connections", "Connections that are open", metrics.connections.clone());
        all.register("sandboxes", "Sandboxes that live, by state", metrics.sandboxes.clone());
        let promised_bytes = metrics.promised_bytes.clone();
        all.register("memory_promised_bytes", "Memory that sandboxes may use", promised_bytes);
        all.register("pool_warm", "Sandboxes that wait for a tenant", metrics.warm.clone());
        all.register("pool_hits", "Leases of warm sandboxes", metrics.hits.clone());
        all.register("pool_misses", "Leases that had to boot", metrics.misses.clone());
        Self { registry: Mutex::new(all), ..metrics }
    }

    /// A request was answered.
    pub fn answered(&self, method: &str, route: &str, status: u16) {
        let request = Request { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&request).inc();
    }

    /// A command has ended.
    pub fn took(&self, phases: &Phases) {
        for (phase, time) in phases.named() {
            if let Some(time_ns) = time {
                #[expect(clippy::cast_precision_loss, reason = "a histogram's bucket needs no 53 bits")]
                self.phases.get_or_create(&Phase { phase }).observe(time_ns as f64 / 1e9);
            }
        }
    }

    /// A sandbox has ended.
    pub fn ended(&self, cause: CauseOfDeath) {
        self.ended.get_or_create(&Cause { cause: cause.as_str() }).inc();
    }

    /// Something of a sandbox may be left.
    pub fn stop_failed(&self) {
        self.stop_failures.inc();
    }

    /// A connection, until the value is dropped.
    pub fn connection(&self) -> Connection {
        self.connections.inc();
        Connection { connections: self.connections.clone() }
    }

    /// Everything in Prometheus' words.
    pub async fn text(&self, daemon: &Daemon) -> Outcome<String> {
        let counts = daemon.state.count().await?;
        self.sandboxes.clear();
        for (state, count) in counts.by_state {
            self.sandboxes.get_or_create(&InState { state: state.as_str() }).set(signed(count));
        }
        self.promised_bytes.set(signed(counts.promised_bytes));
        for (kind, pool) in &daemon.pools {
            let (of, stats) = (OfBackend { backend: kind.to_string() }, pool.stats());
            self.warm.get_or_create(&of).set(signed(stats.warm as u64));
            self.hits.get_or_create(&of).set(signed(stats.total.hits));
            self.misses.get_or_create(&of).set(signed(stats.total.misses));
        }
        let mut text = String::new();
        let registry = self.registry.lock().map_err(Failure::internal)?;
        encode(&mut text, &registry).map_err(Failure::internal)?;
        Ok(text)
    }
}

/// A connection that is open.
pub struct Connection {
    connections: Gauge,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
