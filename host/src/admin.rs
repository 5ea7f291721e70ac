//! The admin server: metrics and health checks at an address of their own, `ADMIN_LISTEN`, for monitoring. Clients have
//! no access to it, and it has few connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::endpoint::ALLOW_GET;
use shared::{App, Endpoint, Problem};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::health::{HEALTHZ, READYZ};
use crate::metrics::Metrics;

/// Max connections: far more than monitoring servers and people need.
const MAX_CONNECTIONS: usize = 256;

/// The timeout of a connection without a complete request header. It is short, so that a client that leaks connections does
/// not lock out the others for long; monitoring servers connect again for each scrape.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

const ENDPOINTS: [&Endpoint; 3] = [&HEALTHZ, &READYZ, &METRICS];

/// The media type of Prometheus's text format.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves `/metrics`, `/healthz` and `/readyz` on `listener`. Never returns.
pub async fn serve_admin(listener: TcpListener, app: Arc<App>, metrics: Arc<Metrics>, timeout: Duration) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, cause = %error, "cannot accept a connection on ADMIN_LISTEN");
                sleep(crate::connections::RETRY).await;
                continue;
            }
        };
        let (app, metrics) = (Arc::clone(&app), Arc::clone(&metrics));
        let service = service_fn(move |request: Request<Incoming>| {
            let (app, metrics) = (Arc::clone(&app), Arc::clone(&metrics));
            async move { Ok::<_, Infallible>(respond(&app, &metrics, request, timeout).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection on ADMIN_LISTEN ended early");
            }
        });
    }
}

/// Responds to a request, whose body is not read.
async fn respond(
    app: &App,
    metrics: &Metrics,
    request: Request<Incoming>,
    timeout: Duration,
) -> Response<Full<Bytes>> {
    let is_scrape =
        request.uri().path() == "/metrics" && matches!(*request.method(), Method::GET | Method::HEAD);
    let mut text = String::new();
    if is_scrape && metrics.write(&mut text).is_ok() {
        let mut response = Response::new(Full::new(text.into()));
        response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
        return response;
    }
    let request = request.map(|_| Bytes::new());
    shared::respond(app, &ENDPOINTS, request, timeout).await.response.map(Full::new)
}

/// Takes all other requests for `/metrics`: those with other methods, which get 405 or the response to `OPTIONS`.
const METRICS: Endpoint = Endpoint {
    name: "metrics",
    method: shared::endpoint::Method::Get,
    path: "/metrics",
    query: &[],
    allow: ALLOW_GET,
    handler: |_, _| Box::pin(std::future::ready(Err(Problem::internal("the metrics cannot be written")))),
};
