//! Spans of requests, sent to an OpenTelemetry collector. Only in builds with the feature `otlp`, and only if
//! `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.
//!
//! A request has one span. The library reads the usual variables, such as `OTEL_SERVICE_NAME` and `OTEL_TRACES_SAMPLER`,
//! and sends spans in batches from its own thread. When its queue is full, it drops spans; no request waits.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use shared::Outcome;
use shared::http::TraceParent;
use shared::variables::{Error, environment};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::metrics::method_label;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

const EXPECTED: &str = "the address of a collector such as http://127.0.0.1:4318";

/// The timeout of a request to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The sender of spans.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Starts to send spans if a collector is configured. Needs a running tokio runtime.
    ///
    /// # Errors
    /// A variable is invalid.
    pub fn start() -> Result<Option<Self>, Error> {
        let mut set = ENDPOINTS.into_iter().filter_map(|name| {
            let set = environment(name).filter(|value| !value.is_empty());
            Some((name, set?))
        });
        let Some((name, endpoint)) = set.next() else { return Ok(None) };
        let invalid = |why: &str| Error::Invalid(name, endpoint.clone(), format!("{EXPECTED}{why}"));
        if !endpoint.starts_with("http://") {
            return Err(invalid(""));
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Collector::new()).build();
        let exporter = exporter.map_err(|error| invalid(&format!(": {error}")))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("atelier-host");
        }
        let resource = resource.with_attribute(KeyValue::new("service.version", cli::VERSION)).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Some(Self { tracer: provider.tracer("atelier-host"), provider }))
    }

    /// Records a request that has just got its response.
    pub(crate) fn record(&self, method: &Method, outcome: &Outcome, elapsed: Duration) {
        let ended = SystemTime::now();
        let name = outcome.route.map_or_else(
            || method_label(method).to_owned(),
            |route| format!("{} {route}", method_label(method)),
        );
        let status = outcome.response.status();
        let mut attributes = vec![
            KeyValue::new("http.request.method", method_label(method)),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            KeyValue::new("atelier.request_id", outcome.request_id.as_str().to_owned()),
            KeyValue::new("atelier.database.duration", outcome.database.as_secs_f64()),
        ];
        attributes.extend(outcome.route.map(|route| KeyValue::new("http.route", route)));
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_start_time(ended.checked_sub(elapsed).unwrap_or(ended))
            .with_attributes(attributes);
        let parent = outcome.trace_parent.as_ref().and_then(remote).unwrap_or_default();
        let mut span = self.tracer.build_with_context(builder, &parent);
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(ended);
    }

    /// Sends the remaining spans.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, cause = %error, "cannot send the last spans");
        }
    }
}

/// Returns the context of the caller's span.
fn remote(parent: &TraceParent) -> Option<Context> {
    let trace = TraceId::from_hex(parent.trace_id()).ok()?;
    let span = SpanId::from_hex(parent.span_id()).ok()?;
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    Some(Context::new().with_remote_span_context(context))
}

/// The client of the collector. It speaks plain HTTP: the collector runs on the same machine or in the same network.
#[derive(Debug)]
struct Collector {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl Collector {
    fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), runtime: Handle::current() }
    }
}

#[async_trait]
impl HttpClient for Collector {
    /// Sends the request from a task, because the library calls this from a thread outside the runtime.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            Ok::<_, HttpError>(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        self.runtime.spawn(async { timeout(EXPORT_TIMEOUT, exchange).await }).await??
    }
}
