//! The metrics of a host, for Prometheus. docs/operations.md explains each one.
//!
//! A request finds its histogram in a table and changes a few numbers; it looks up no label and allocates nothing.
//! Labels have path templates, known methods and status codes only, and rejected requests have no route. So the number of
//! series is bounded, whatever clients send.

mod process;

use std::fmt::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use shared::metrics::{counter, duration_histogram, gauge};
use shared::{App, Outcome};
use tracing_appender::non_blocking::ErrorCounter;

use crate::health::{HEALTHZ, READYZ};
use process::ProcessCollector;

/// The methods that have a label of their own.
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];

/// The label of all other methods.
const OTHER_METHOD: &str = "_OTHER";

/// The status codes of the service, the most frequent first.
const STATUSES: [u16; 17] =
    [200, 304, 404, 201, 204, 400, 405, 408, 413, 414, 415, 422, 431, 500, 501, 503, 505];

/// The paths whose requests are not recorded: they come from load balancers, and their 503 is no failed request.
const HEALTH_CHECKS: [&str; 2] = [HEALTHZ.path, READYZ.path];

/// The status codes of requests that the host rejects before a handler sees them. They have no route, because a client can
/// cause them at each one with each method.
const REJECTED: [u16; 7] = [405, 408, 413, 414, 431, 501, 505];

/// The metrics of a host.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The path template of each endpoint but the health checks, and last the empty text for requests without one.
    routes: Vec<&'static str>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    /// The histograms of `durations` that exist, by route, method and status. One is created with its first request.
    kept: Vec<OnceLock<Histogram>>,
    /// The body bytes of each route.
    body_bytes: Vec<Counter>,
    active: Gauge,
    shed: Counter,
    pub(crate) connections: Gauge,
    pub(crate) evicted: Counter,
}

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_route: &'static str,
    http_request_method: &'static str,
    http_response_status_code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    http_route: &'static str,
}

/// Increments a gauge until it is dropped.
#[derive(Debug)]
pub(crate) struct GaugeGuard(Gauge);

impl Metrics {
    /// Creates the metrics of a host with this max number of connections, whose log counts dropped lines here.
    #[must_use]
    pub fn new(app: &Arc<App>, max_connections: usize, dropped: ErrorCounter) -> Self {
        let mut registry = Registry::default();
        let durations = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        let help = "Time from the arrival of the headers until the response is complete, without the time to send it";
        registry.register("http_server_request_duration_seconds", help, durations.clone());
        let family = Family::<RouteLabel, Counter>::default();
        registry.register(
            "http_server_response_body_bytes",
            "Bytes of response bodies, as sent",
            family.clone(),
        );
        let (active, shed, connections, evicted) = Default::default();
        let help = "Requests without a complete response yet";
        registry.register("http_server_active_requests", help, Gauge::clone(&active));
        let help = "Requests that got 503 at once, because the queue was full or memory for large responses exhausted";
        registry.register("atelier_requests_shed", help, Counter::clone(&shed));
        registry.register("atelier_connections", "Open client connections", Gauge::clone(&connections));
        let help = "Idle client connections closed to make room for new ones";
        registry.register("atelier_connections_evicted", help, Counter::clone(&evicted));
        registry.register_collector(Box::new(HostCollector { max_connections, dropped }));
        registry.register_collector(Box::new(ProcessCollector::new()));
        shared::metrics::register(app, &mut registry);

        let mut routes: Vec<&'static str> = Vec::new();
        let endpoints =
            crate::ENDPOINTS.iter().chain(crate::page::ENDPOINTS).chain(crate::reference::ENDPOINTS);
        for route in endpoints.map(|endpoint| endpoint.path).chain([""]) {
            if !routes.contains(&route) && !HEALTH_CHECKS.contains(&route) {
                routes.push(route);
            }
        }
        let of_route = |route: &&'static str| family.get_or_create_owned(&RouteLabel { http_route: route });
        let body_bytes = routes.iter().map(of_route).collect();
        let series = routes.len() * (METHODS.len() + 1) * STATUSES.len();
        let kept = std::iter::repeat_with(OnceLock::new).take(series).collect();
        Self { registry, routes, durations, kept, body_bytes, active, shed, connections, evicted }
    }

    /// Returns a guard of an active request.
    pub(crate) fn begin(&self) -> GaugeGuard {
        GaugeGuard::new(&self.active)
    }

    /// Records a response.
    pub(crate) fn record(&self, method: &Method, outcome: &Outcome, elapsed: Duration) {
        let status = outcome.response.status().as_u16();
        let route = outcome.route.filter(|_| !REJECTED.contains(&status)).unwrap_or_default();
        let Some(route) = self.routes.iter().position(|known| *known == route) else { return };
        let length = u64::try_from(outcome.response.body().len()).unwrap_or(u64::MAX);
        if let Some(bytes) = self.body_bytes.get(route) {
            bytes.inc_by(length);
        }
        if outcome.is_shed {
            self.shed.inc();
        }
        self.observe(route, method, status, elapsed);
    }

    /// Adds a request to its histogram.
    fn observe(&self, route: usize, method: &Method, status: u16, elapsed: Duration) {
        let known = METHODS.iter().position(|known| known == method);
        let create = || {
            self.durations.get_or_create_owned(&Labels {
                http_route: self.routes.get(route).copied().unwrap_or_default(),
                http_request_method: method_label(method),
                http_response_status_code: status,
            })
        };
        let row = route * (METHODS.len() + 1) + known.unwrap_or(METHODS.len());
        let column = STATUSES.iter().position(|known| *known == status);
        match column.and_then(|column| self.kept.get(row * STATUSES.len() + column)) {
            Some(kept) => kept.get_or_init(create).observe(elapsed.as_secs_f64()),
            None => create().observe(elapsed.as_secs_f64()),
        }
    }

    /// Writes all metrics in the text format of Prometheus, version 0.0.4.
    ///
    /// # Errors
    /// The output fails.
    pub fn write(&self, output: &mut impl Write) -> fmt::Result {
        prometheus_text::encode(output, &self.registry)
    }
}

/// Returns the label of a method: a client may send any text as a method.
pub(crate) fn method_label(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|known| *known == method);
    known.map_or(OTHER_METHOD, |known| known.as_str())
}

impl GaugeGuard {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The metrics of a host that are constant, or counted elsewhere.
#[derive(Debug)]
struct HostCollector {
    max_connections: usize,
    dropped: ErrorCounter,
}

impl Collector for HostCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Max open client connections, MAX_CONNECTIONS.";
        gauge(&mut encoder, "atelier_connections_max", help, self.max_connections as u64)?;
        let help = "Log lines dropped because the log was slower than the requests.";
        let dropped = self.dropped.dropped_lines() as u64;
        counter(&mut encoder, "atelier_log_lines_dropped", help, dropped)?;
        let labels = [("version", cli::VERSION), ("revision", cli::REVISION)];
        let help = "The release of the host.";
        let mut info = encoder.encode_descriptor("atelier_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_u64).encode(info.encode_family(&labels)?)
    }
}
