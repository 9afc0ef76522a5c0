//! Spans for an OpenTelemetry collector: one for each request, with its id and the time of its phases.
//!
//! They go out as OTLP in JSON over plain HTTP, in batches, from a thread of their own: a collector that is slow or gone
//! costs the daemon some spans, and nothing else. TLS and whatever else there is between hosts is the business of a
//! collector on this one.

mod sender;

use std::time::Duration;

use agentkernel_api::Phases;
use agentkernel_core::{Error, ErrorKind, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;

use sender::Sender;

/// What the spans are said to be from, and of.
const SERVICE: &str = "agentkernel";

/// Where a collector takes spans, below its own address.
const PATH: &str = "/v1/traces";

/// Spans that wait for a slow collector; further ones are dropped.
const QUEUE_MAX: usize = 2048;

/// How long a span waits for others.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last spans may take to get out when the daemon ends.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// The way of the spans to a collector. The last of them go out when it is dropped.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To the collector at this address, `http://HOST:PORT`.
    pub fn to(collector: &str, version: &str) -> Result<Self> {
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Usage, "send traces", why).on(collector).hint("use http://HOST:PORT")
        };
        let sender = Sender::to(collector).map_err(|why| failed(&why))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(format!("{}{PATH}", collector.trim_end_matches('/')))
            .build()
            .map_err(|why| failed(&why))?;
        let batches =
            BatchConfigBuilder::default().with_max_queue_size(QUEUE_MAX).with_scheduled_delay(BATCH_INTERVAL);
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let version = opentelemetry::KeyValue::new("service.version", version.to_owned());
        let resource = Resource::builder_empty().with_service_name(SERVICE).with_attribute(version).build();
        let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource);
        Ok(Self { provider: provider.build() })
    }

    /// What takes the spans from `tracing`.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SERVICE));
        layer.with_location(false).with_threads(false).with_filter(LevelFilter::INFO)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_DEADLINE) {
            tracing::debug!(%error, "the last spans did not get out");
        }
    }
}

/// Notes the time of each phase in the request's span.
pub fn note(phases: &Phases) {
    let span = tracing::Span::current();
    for (phase, time) in phases.named() {
        if let Some(time_ns) = time {
            // Without a sign it would arrive as text.
            span.record(format!("{phase}_ns").as_str(), i64::try_from(time_ns).unwrap_or(i64::MAX));
        }
    }
}
