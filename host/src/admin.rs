//! The admin server: metrics and health checks at an address of their own, `ADMIN_LISTEN`, for monitoring. Clients have
//! no access to it, and it has few connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::endpoint::ALLOW_GET;
use shared::{App, Endpoint};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::health::{HEALTHZ, READYZ};
use crate::metrics::Metrics;

/// Max connections: a few monitoring servers, and a person.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may be idle, above the usual scrape interval of a minute.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(90);

const ENDPOINTS: [&Endpoint; 2] = [&HEALTHZ, &READYZ];

/// The media type of Prometheus's text format.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves `/metrics`, `/healthz` and `/readyz` on `listener`. Never returns.
pub async fn serve_admin(listener: TcpListener, app: Arc<App>, metrics: Arc<Metrics>, timeout: Duration) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
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
    if request.uri().path() == "/metrics" {
        return scrape(metrics, request.method());
    }
    let request = request.map(|_| Bytes::new());
    shared::respond(app, &ENDPOINTS, request, timeout).await.response.map(Full::new)
}

fn scrape(metrics: &Metrics, method: &Method) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    if !matches!(*method, Method::GET | Method::HEAD) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(ALLOW_GET));
        return response;
    }
    let mut text = String::new();
    if metrics.write(&mut text).is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR; // writing to a String cannot fail
        return response;
    }
    response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
    *response.body_mut() = Full::new(text.into());
    response
}
