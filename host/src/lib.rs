//! The HTTP adapter: every endpoint in one process. The only crate that knows a socket.
//!
//! What an answer says is decided in `shared`; here are the things that only a socket has: accepting, slow
//! and oversized clients, draining, and the log of requests.

mod health;
pub mod log;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::request::LARGEST_BODY_BYTES;
use shared::{App, Endpoint, Problem, config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use log::AccessLog;

/// Everything the host answers: the seven endpoints of the service, the most asked for first, and its own
/// two.
pub const ENDPOINTS: [&Endpoint; 9] = [
    &get_styles::ENDPOINT,
    &get_product::ENDPOINT,
    &get_related::ENDPOINT,
    &get_overview::ENDPOINT,
    &list_products::ENDPOINT,
    &get_cart::ENDPOINT,
    &add_to_cart::ENDPOINT,
    &health::LIVENESS,
    &health::READINESS,
];

/// A request's line and headers have to fit, which is four times what browsers are known to send. hyper
/// itself answers what does not with 431, as it does with 400 what is not HTTP.
const LARGEST_HEADER_BYTES: usize = 32 * 1024;

/// How long to wait when no connection can be accepted, as when the process is out of file descriptors: some
/// will have been closed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection without a request may stay once all are to stop: what its client sent meanwhile is there by
/// then.
const LAST_WORD: Duration = Duration::from_millis(250);

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
    config: &config::Config,
    access: Option<AccessLog>,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let host = Arc::new(Host { app, access, request_timeout: config.requests.timeout });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.host.header_read_timeout)
        .max_buf_size(LARGEST_HEADER_BYTES);
    let stop = watch::Sender::new(()); // each connection holds a receiver
    let places = Arc::new(Semaphore::new(config.host.connections));
    let spawn = |stream, place: OwnedSemaphorePermit| {
        let (host, http) = (Arc::clone(&host), http.clone());
        let mut stopping = stop.subscribe();
        tokio::spawn(async move {
            let _place = place; // for as long as the connection is there
            let service = service_fn(|request| {
                let host = Arc::clone(&host);
                async move { Ok::<_, Infallible>(host.respond(request).await) }
            });
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            let ended = tokio::select! {
                ended = &mut connection => ended,
                _ = stopping.changed() => match timeout(LAST_WORD, &mut connection).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                },
            };
            if let Err(error) = ended {
                tracing::debug!(cause = %error, "a connection ended early"); // the client's doing
            }
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
            tokio::time::sleep(config.host.shutdown_delay).await;
        } => {}
    }
    // Those who have connected may have sent a request, which would be lost with the listener. Where there are as many
    // connections as there may be, nobody is left to answer them.
    for stream in last_connections(listener) {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
        spawn(stream, place);
    }
    let _ = stop.send(()); // fails only when there is no connection to tell
    let all_ended = timeout(config.host.shutdown_grace, stop.closed()).await;
    all_ended.map_or_else(|_| stop.receiver_count(), |()| 0)
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
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let method = self.access.as_ref().map(|_| parts.method.clone());
        let answer = match self.read(body).await {
            Ok(body) => {
                let request = Request::from_parts(parts, body);
                shared::answer(&self.app, &ENDPOINTS, request, self.request_timeout).await
            }
            Err(problem) => shared::refuse(&ENDPOINTS, parts, problem),
        };
        if let (Some(access), Some(method)) = (&self.access, &method) {
            access.write(method, &answer, started.elapsed());
        }
        let mut response = answer.response.map(Full::new);
        if self.app.is_draining() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Reads a body, up to the byte that makes it too large.
    async fn read(&self, body: Incoming) -> Result<Bytes, Problem> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if body.size_hint().lower() > LARGEST_BODY_BYTES as u64 {
            return Err(Problem::body_too_large()); // it was announced, so there is no need to wait for it
        }
        let whole = Limited::new(body, LARGEST_BODY_BYTES).collect();
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
