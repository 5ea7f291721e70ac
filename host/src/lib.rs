//! The HTTP adapter: every endpoint in one process. The only crate that knows a socket.
//!
//! What an answer says is decided in `shared`; here are the things that only a socket has: accepting, slow
//! and oversized clients, draining, and the log of requests.

mod health;
pub mod log;
mod refusal;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::config::HostConfig;
use shared::http::request::MAX_BODY_BYTES;
use shared::{App, Endpoint, Problem};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use log::AccessLog;
use refusal::{Again, Exchange, Observed};

/// Every endpoint that the host serves: those of the service, the most frequent first, and its own two.
pub const ENDPOINTS: &[&Endpoint] = &[
    &get_styles::ENDPOINT,
    &get_product::ENDPOINT,
    &get_related::ENDPOINT,
    &get_overview::ENDPOINT,
    &list_products::ENDPOINT,
    &get_cart::ENDPOINT,
    &add_to_cart::ENDPOINT,
    &clear_cart::ENDPOINT,
    &remove_from_cart::ENDPOINT,
    &health::LIVENESS,
    &health::READINESS,
];

/// A request's line and headers have to fit, which is four times what browsers are known to send.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// The most headers that hyper parses, for a request that has more than its default of 100. `shared` allows a client 100,
/// and does not count those that proxies add.
const MAX_PARSED_HEADERS: usize = 128;

/// How long to wait when no connection can be accepted, as when the process is out of file descriptors: some
/// will have been closed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection without a request may stay once all are to stop: what its client sent meanwhile is there by
/// then.
const LAST_WORD: Duration = Duration::from_millis(250);

/// How long, and for how many bytes, the host reads on from a connection that it closes with requests behind the last one:
/// with bytes unread, closing would reset it, and the client might lose responses.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: u64 = 1024 * 1024;

/// How long a client may leave an answer unread, or unacknowledged, before its connection is ended.
#[cfg(target_os = "linux")]
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What every connection needs.
#[derive(Debug)]
struct Host {
    app: Arc<App>,
    access: Option<AccessLog>,
    request_timeout: Duration,
}

/// Serves all endpoints on `listener` until `shutdown` is ready. Then each connection is closed after its next answer, and
/// `/readyz` says that there should be none, for `SHUTDOWN_DELAY`: a balancer that keeps connections meets none that is
/// closed just when it sends a request. After that it takes no more connections, lets the requests under way end
/// (`SHUTDOWN_GRACE` at the longest) and returns how many connections had to be cut off.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    config: &HostConfig,
    access: Option<AccessLog>,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let host = Arc::new(Host { app, access, request_timeout: config.requests.timeout });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.http.header_read_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_header_size(MAX_HEADER_BYTES);
    let stop = watch::Sender::new(()); // each connection holds a receiver
    let places = Arc::new(Semaphore::new(config.http.max_connections));
    let spawn = |stream, place: OwnedSemaphorePermit| {
        let (host, http, stop) = (Arc::clone(&host), http.clone(), stop.subscribe());
        tokio::spawn(async move {
            let _place = place; // for as long as the connection is there
            serve_connection(&host, &http, stream, stop).await;
        });
    };
    let serve_all = async {
        // Fails only when the places are closed, which nobody does.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            spawn(accept(&listener).await, place);
        }
    };
    tokio::select! {
        () = serve_all => {}
        () = async {
            shutdown.await;
            host.app.drain();
            tokio::time::sleep(config.http.shutdown_delay).await;
        } => {}
    }
    // Those who have connected may have sent a request, which would be lost with the listener. Where there are as many
    // connections as there may be, nobody is left to answer them.
    for stream in last_connections(listener) {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
        spawn(stream, place);
    }
    let _ = stop.send(()); // fails only when there is no connection to tell
    let all_ended = timeout(config.http.shutdown_grace, stop.closed()).await;
    all_ended.map_or_else(|_| stop.receiver_count(), |()| 0)
}

/// Serves a connection until it ends: again and again where hyper could not read a request.
async fn serve_connection(
    host: &Arc<Host>,
    http: &http1::Builder,
    stream: TcpStream,
    mut stopping: watch::Receiver<()>,
) {
    let (mut stream, mut http) = (Observed::new(stream), http.clone());
    loop {
        let exchange = stream.exchange();
        let service = service_fn(|request: Request<Incoming>| {
            let (host, exchange) = (Arc::clone(host), exchange.clone());
            let (parts, body) = request.into_parts();
            let refusal = exchange.begin(&parts, body.size_hint().exact()); // now, before hyper reads of the body
            async move { Ok::<_, Infallible>(host.respond(parts, body, refusal, &exchange).await) }
        });
        let mut connection = http.serve_connection(TokioIo::new(stream), service);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            // Once only: while a connection is served again it is not idle, and closes after its response.
            _ = stopping.changed() => match timeout(LAST_WORD, &mut connection).await {
                Ok(ended) => ended,
                Err(_) => {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            },
        };
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        stream = io.into_inner();
        match ended {
            Ok(()) => break,
            Err(error) if error.is_parse() => match stream.again(&read_buf) {
                Some(Again::WithMoreHeaders) => {
                    http.max_headers(MAX_PARSED_HEADERS);
                }
                Some(Again::Replaced) => {}
                None => break,
            },
            Err(error) => {
                tracing::debug!(cause = %error, "a connection ended early"); // the client's doing
                break;
            }
        }
    }
    if stream.exchange().is_closing() {
        let mut unread = stream.into_inner().take(MAX_LINGER_BYTES);
        let _ = timeout(LINGER, tokio::io::copy(&mut unread, &mut tokio::io::sink())).await;
    }
}

/// Waits for the next connection, whatever becomes of those before it.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = set_options(&stream) {
                    tracing::debug!(cause = %error, "a connection was gone before it was served");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(cause = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connections that nobody has accepted yet, whether or not the runtime has heard of them. After the last, nobody listens.
fn last_connections(listener: TcpListener) -> impl Iterator<Item = TcpStream> {
    let listener = listener.into_std();
    std::iter::from_fn(move || {
        let (stream, _) = listener.as_ref().ok()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    })
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    // Answers are written whole, so waiting to fill a packet only costs time.
    stream.set_nodelay(true)?;
    // Other systems have no such limit; there a client that never reads keeps its connection.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    Ok(())
}

impl Host {
    async fn respond(
        &self,
        parts: Parts,
        body: Incoming,
        refusal: Option<Problem>,
        exchange: &Exchange,
    ) -> Response<Full<Bytes>> {
        let logged = self.access.as_ref().map(|access| (access, parts.method.clone(), Instant::now()));
        let has_known_end = body.size_hint().exact().is_some();
        let body = match refusal {
            Some(problem) => Err(problem),
            None => self.read(body).await,
        };
        // What comes after a body that was not read, or that has no length, is not certain to be a request.
        let closes = body.is_err() || !has_known_end;
        let answer = match body {
            Ok(body) => {
                let request = Request::from_parts(parts, body);
                shared::respond(&self.app, ENDPOINTS, request, self.request_timeout).await
            }
            Err(problem) => shared::reject(ENDPOINTS, parts, problem),
        };
        if let Some((access, method, started)) = logged {
            access.write(&method, &answer, started.elapsed());
        }
        let mut response = answer.response.map(Full::new);
        if closes || self.app.is_draining() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        exchange.respond(closes);
        response
    }

    /// Reads a body, up to the byte that makes it too large.
    async fn read(&self, body: Incoming) -> Result<Bytes, Problem> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(Problem::body_too_large()); // it was announced, so there is no need to wait for it
        }
        let whole = Limited::new(body, MAX_BODY_BYTES).collect();
        match timeout(self.request_timeout, whole).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Problem::body_too_large())
            }
            Ok(Err(_)) => Err(Problem::bad_request("The body of the request ended early.")),
            Err(_) => Err(Problem::body_too_slow()),
        }
    }
}
