//! The HTTP server: all endpoints in one process. No other crate accepts connections from clients.
//!
//! `shared` decides what a response contains. This crate accepts connections, limits slow and oversized requests,
//! drains connections on shutdown, and writes the access log.

mod admin;
mod connections;
mod embedded;
mod health;
pub mod log;
mod metrics;
pub mod page;
pub mod reference;
mod refusal;
#[cfg(feature = "otlp")]
mod traces;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::config::HostConfig;
use shared::http::request::MAX_BODY_BYTES;
use shared::{App, Endpoint, Outcome, Problem};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

pub use admin::serve_admin;
use connections::Connections;
use log::AccessLog;
pub use metrics::Metrics;
use refusal::{Exchange, Observed, Reparse};
#[cfg(feature = "otlp")]
pub use traces::Traces;

/// The endpoints of the host: those of the service, the most frequent first, and the two health checks. Those of the [`page`]
/// follow unless `PAGE=off`, and those of the [`mod@reference`] unless `DOCS=off`: requests that match one of these are not
/// compared with them.
pub const ENDPOINTS: &[&Endpoint] = &[
    &get_styles::ENDPOINT,
    &get_product::ENDPOINT,
    &get_related::ENDPOINT,
    &get_overview::ENDPOINT,
    &list_products::ENDPOINT,
    &list_cards::ENDPOINT,
    &list_categories::ENDPOINT,
    &get_catalog::ENDPOINT,
    &get_cart::ENDPOINT,
    &add_to_cart::ENDPOINT,
    &clear_cart::ENDPOINT,
    &get_cart_lines::ENDPOINT, // before those of `/cart/{sku_id}`, which its path matches too
    &set_cart_line::ENDPOINT,
    &remove_from_cart::ENDPOINT,
    &health::HEALTHZ,
    &health::READYZ,
];

/// Max size of a request line and its headers together: four times the max of browsers.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Max headers that hyper parses in a request that exceeds hyper's default of 100. `shared` allows 100 headers and does
/// not count those that proxies add.
const MAX_PARSED_HEADERS: usize = 128;

/// Time and byte limits of the reads from a connection before the host closes it. If unread bytes remain, the close
/// resets the connection, and the client may lose responses.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: u64 = 1024 * 1024;

/// The state that all connections share.
#[derive(Debug)]
struct Host {
    app: Arc<App>,
    endpoints: Vec<&'static Endpoint>,
    observers: Observers,
    request_timeout: Duration,
}

/// The records that the host keeps of requests.
#[derive(Debug, Clone, Default)]
pub struct Observers {
    /// The access log.
    pub access: Option<AccessLog>,
    /// The metrics.
    pub metrics: Option<Arc<Metrics>>,
    /// The spans.
    #[cfg(feature = "otlp")]
    pub traces: Option<Arc<Traces>>,
}

impl Observers {
    /// Returns whether there is one.
    fn exist(&self) -> bool {
        #[cfg(feature = "otlp")]
        if self.traces.is_some() {
            return true;
        }
        self.access.is_some() || self.metrics.is_some()
    }

    /// Records a response that took this long.
    fn record(&self, method: &Method, outcome: &Outcome, elapsed: Duration) {
        if let Some(metrics) = &self.metrics {
            metrics.record(method, outcome, elapsed);
        }
        if let Some(access) = &self.access {
            access.write(method, outcome, elapsed);
        }
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.traces {
            traces.record(method, outcome, elapsed);
        }
    }
}

/// Serves all endpoints on `listener` until `shutdown` is ready, then shuts down gracefully. Returns the number of
/// aborted connections.
///
/// 1. For `SHUTDOWN_DELAY` the host accepts connections, `/readyz` returns 503, and each response closes its
///    connection. A load balancer that keeps connections therefore never sends a request just as the host closes one.
/// 2. The host stops listening. Requests in flight get up to `SHUTDOWN_GRACE` to finish.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    config: &HostConfig,
    observers: Observers,
    shutdown: impl Future<Output = ()>,
) -> usize {
    if let Err(error) = connections::set_options(&listener) {
        tracing::warn!(%error, cause = %error, "cannot set the options of connections");
    }
    let of = |is_on: bool, endpoints| if is_on { endpoints } else { &[][..] };
    let page = of(config.http.page, page::ENDPOINTS);
    let endpoints = [ENDPOINTS, page, of(config.http.docs, reference::ENDPOINTS)].concat();
    let host = Arc::new(Host { app, endpoints, observers, request_timeout: config.requests.timeout });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.http.header_read_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_header_size(MAX_HEADER_BYTES);
    let mut connections = Connections::new(Arc::clone(&host), http, config.http.max_connections);
    let serve_all = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => connections.serve(stream).await,
                Err(error) => {
                    tracing::warn!(%error, cause = %error, "cannot accept a connection");
                    connections.evict(); // the process may be out of file descriptors
                    sleep(connections::RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = serve_all => {}
        () = async {
            shutdown.await;
            host.app.drain();
            sleep(config.http.shutdown_delay).await;
        } => {}
    }
    let drain = async {
        // Clients in the backlog may have sent a request, which would be lost with the listener. The runtime may not
        // know of the latest ones yet.
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, _)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    connections.serve(stream).await;
                }
            }
        }
        connections.drain().await;
    };
    let _ = timeout(config.http.shutdown_grace, drain).await;
    connections.count()
}

/// Serves a connection until it closes. Restarts hyper on it after each request that hyper cannot parse.
async fn serve_connection(host: &Arc<Host>, mut http: http1::Builder, mut stream: Observed<TcpStream>) {
    loop {
        let exchange = stream.exchange();
        let service = service_fn(|request: Request<Incoming>| {
            let (host, exchange) = (Arc::clone(host), exchange.clone());
            let (parts, body) = request.into_parts();
            let rejection = exchange.begin(&parts, body.size_hint().exact()); // before hyper reads the body
            async move { Ok::<_, Infallible>(host.respond(parts, body, rejection, &exchange).await) }
        });
        let mut connection = http.serve_connection(TokioIo::new(stream), service);
        let ended = (&mut connection).await;
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        stream = io.into_inner();
        match ended {
            Ok(()) => break,
            Err(error) if error.is_parse() => match stream.reparse(&read_buf) {
                Some(Reparse::WithMoreHeaders) => {
                    http.max_headers(MAX_PARSED_HEADERS);
                }
                Some(Reparse::Replaced) => {}
                None => break,
            },
            Err(error) => {
                tracing::debug!(%error, "connection ended early");
                break;
            }
        }
    }
    if stream.exchange().is_closing() {
        let mut unread = stream.into_inner().take(MAX_LINGER_BYTES);
        let _ = timeout(LINGER, tokio::io::copy(&mut unread, &mut tokio::io::sink())).await;
    }
}

impl Host {
    async fn respond(
        &self,
        parts: Parts,
        body: Incoming,
        rejection: Option<Problem>,
        exchange: &Exchange,
    ) -> Response<Full<Bytes>> {
        let observed = self.observers.exist().then(|| (parts.method.clone(), Instant::now()));
        let active = self.observers.metrics.as_ref().map(|metrics| metrics.begin());
        let has_known_length = body.size_hint().exact().is_some();
        let body = match rejection {
            Some(problem) => Err(problem),
            None => self.read(body).await,
        };
        // After an unread body, or one of unknown length, the start of the next request is not certain.
        let closes = body.is_err() || !has_known_length;
        let outcome = match body {
            Ok(body) => {
                let request = Request::from_parts(parts, body);
                shared::respond(&self.app, &self.endpoints, request, self.request_timeout).await
            }
            Err(problem) => shared::reject(&self.endpoints, parts, problem),
        };
        if let Some((method, started)) = observed {
            self.observers.record(&method, &outcome, started.elapsed());
        }
        drop(active);
        let mut response = outcome.response.map(Full::new);
        if closes || self.app.is_draining() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        exchange.respond(closes);
        response
    }

    /// Returns the body, of up to `MAX_BODY_BYTES`.
    async fn read(&self, body: Incoming) -> Result<Bytes, Problem> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(Problem::body_too_large()); // Content-Length already says so
        }
        let collected = Limited::new(body, MAX_BODY_BYTES).collect();
        match timeout(self.request_timeout, collected).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Problem::body_too_large())
            }
            Ok(Err(_)) => Err(Problem::bad_request("The body of the request ended early.")),
            Err(_) => Err(Problem::body_too_slow()),
        }
    }
}
