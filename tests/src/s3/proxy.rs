//! A proxy that injects failures: the test's script chooses a fault for each request.
//!
//! The proxy runs on a separate thread, so that it continues while a test waits for a process without `await`. It keeps
//! connections of clients alive, as S3 does. It sends each request to the server on a new connection.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderName, IF_MATCH, RANGE, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full, channel};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

use super::variables;

/// The time for sent data to arrive before the connection is reset: a reset discards data that is still in transit.
const ARRIVAL: Duration = Duration::from_millis(50);

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the proxy forwards the request and the response.
    None,
    /// The proxy does not forward the request, and returns this status, with S3's body for this code.
    Refusal(StatusCode, &'static str),
    /// The proxy does not forward the request, and never responds.
    Hang,
    /// The proxy resets the connection (RST) once it has sent `after` bytes of the body. A body of `after` bytes or
    /// less is complete.
    Reset {
        /// The number of bytes.
        after: usize,
    },
    /// The proxy closes the connection (FIN) once it has sent `after` bytes of the body, although the content length is
    /// more.
    Close {
        /// The number of bytes.
        after: usize,
    },
    /// The proxy sends the body slowly. With a long pause the body stalls.
    Trickle {
        /// The number of bytes at a time.
        bytes: usize,
        /// The pause after each piece.
        every: Duration,
    },
}

impl Fault {
    /// S3's response when the request rate is too high: 503.
    pub const SLOW_DOWN: Self = Self::Refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    /// S3's response to an internal failure: 500.
    pub const INTERNAL_ERROR: Self = Self::Refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    /// S3's response without permission: 403.
    pub const ACCESS_DENIED: Self = Self::Refusal(StatusCode::FORBIDDEN, "AccessDenied");
}

/// A request that the proxy has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Request {
    /// The method.
    pub method: Method,
    /// The bucket in the path.
    pub bucket: String,
    /// The key in the path, decoded. Empty for a request on the bucket itself, such as a listing.
    pub key: String,
    /// The query as received, or empty.
    pub query: String,
    /// The header `Range`: `bytes=0-99`.
    pub range: Option<String>,
    /// The header `If-Match`.
    pub if_match: Option<String>,
    /// The number of requests with this method, bucket and key so far, with this one. Retries count.
    pub nth: usize,
}

/// The proxy, on a free port. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    seen: Log,
    _running: oneshot::Sender<Infallible>,
}

type Log = Arc<Mutex<Vec<S3Request>>>;
type Body = BoxBody<Bytes, io::Error>;

impl Proxy {
    /// Starts a proxy in front of `server`. The script runs once for each request, and the proxy waits for it. So it can
    /// replace an object just before the second range of it is read.
    ///
    /// ```no_run
    /// # use conformance::s3::{Bucket, Fault, Proxy};
    /// # async fn example(bucket: Bucket) {
    /// let inside = bucket.clone();
    /// let proxy = Proxy::start(bucket.server(), async move |seen| match (seen.key.as_str(), seen.nth) {
    ///     ("incoming/spring/skus.csv", 1..=3) => Fault::SLOW_DOWN,
    ///     ("incoming/spring/styles.csv", 2) => {
    ///         inside.put("incoming/spring/styles.csv", "another").await;
    ///         Fault::None
    ///     }
    ///     _ => Fault::None,
    /// });
    /// # }
    /// ```
    pub fn start(server: SocketAddr, script: impl AsyncFn(&S3Request) -> Fault + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (running, ended) = oneshot::channel();
        let seen = Log::default();
        let log = Arc::clone(&seen);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serve = move || {
            let accepting = async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, server, Rc::new(script), log) => (),
                    _ = ended => (),
                }
            };
            LocalSet::new().block_on(&runtime, accepting);
        };
        std::thread::Builder::new().name("proxy".to_owned()).spawn(serve).unwrap();
        Self { address, seen, _running: running }
    }

    /// Returns the proxy's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the variables that make programs with the AWS SDK use the proxy as S3.
    pub fn variables(&self) -> [(&'static str, OsString); 4] {
        variables(self.address)
    }

    /// Returns the requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<S3Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the number of requests so far with this method and key.
    pub fn count(&self, method: &Method, key: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.method == method && seen.key == key).count()
    }
}

async fn accept<F>(listener: TcpListener, server: SocketAddr, script: Rc<F>, log: Log)
where
    F: AsyncFn(&S3Request) -> Fault + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let reset = Arc::new(AtomicBool::new(false));
        let stream = ClientStream { stream, reset: Arc::clone(&reset) };
        let (script, log) = (Rc::clone(&script), Arc::clone(&log));
        let service = service_fn(move |request| {
            let (script, log, reset) = (Rc::clone(&script), Arc::clone(&log), Arc::clone(&reset));
            async move {
                let seen = record(&request, &log);
                let fault = script(&seen).await;
                Ok::<_, Infallible>(respond(request, server, fault, reset).await)
            }
        });
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn record(request: &Request<Incoming>, log: &Log) -> S3Request {
    let header = |name: HeaderName| {
        let value = request.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let path = request.uri().path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let mut seen = S3Request {
        method: request.method().clone(),
        bucket: bucket.to_owned(),
        key: percent_decode_str(key).decode_utf8_lossy().into_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: header(RANGE),
        if_match: header(IF_MATCH),
        nth: 1,
    };
    let mut log = log.lock().unwrap();
    let alike = |other: &&S3Request| {
        (&other.method, &other.bucket, &other.key) == (&seen.method, &seen.bucket, &seen.key)
    };
    seen.nth += log.iter().filter(alike).count();
    log.push(seen.clone());
    seen
}

async fn respond(
    request: Request<Incoming>,
    server: SocketAddr,
    fault: Fault,
    reset: Arc<AtomicBool>,
) -> Response<Body> {
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Refusal(status, code) => {
            let _ = request.into_body().collect().await; // S3 also reads the body of a request that it rejects
            refusal(status, code, "injected by the test")
        }
        _ => match forward(request, server).await {
            Ok(response) => response.map(|body| faulty(body, fault, reset)),
            Err(error) => refusal(StatusCode::BAD_GATEWAY, "BadGateway", &error.to_string()),
        },
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>TESTED</RequestId><HostId>TESTED</HostId></Error>"
    );
    let body = Full::from(body).map_err(|never| match never {}).boxed();
    Response::builder().status(status).header(CONTENT_TYPE, "application/xml").body(body).unwrap()
}

async fn forward(
    mut request: Request<Incoming>,
    server: SocketAddr,
) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    // These headers belong to one connection, or hyper has handled them.
    for name in [CONNECTION, EXPECT, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    let mut response = sender.send_request(request).await?;
    for name in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

/// Returns a response's body with the fault injected.
fn faulty(body: Incoming, fault: Fault, reset: Arc<AtomicBool>) -> Body {
    let (sender, forwarded) = Channel::new(1);
    spawn_local(forward_body(body, fault, reset, sender));
    forwarded.boxed()
}

async fn forward_body(
    mut body: Incoming,
    fault: Fault,
    reset: Arc<AtomicBool>,
    mut client: channel::Sender<Bytes, io::Error>,
) {
    let mut left = match fault {
        Fault::Reset { after } | Fault::Close { after } => Some(after),
        _ => None,
    };
    while let Some(frame) = body.frame().await {
        let mut data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => return client.abort(io::Error::other(error)),
        };
        if let Some(left) = &mut left {
            if data.len() > *left {
                // Here and below, an error means that the client has disconnected.
                let _ = client.send_data(data.slice(..*left)).await;
                tokio::time::sleep(ARRIVAL).await;
                reset.store(matches!(fault, Fault::Reset { .. }), Ordering::Relaxed);
                return client.abort(io::Error::other("injected by the test"));
            }
            *left -= data.len();
        }
        while !data.is_empty() {
            let (piece, wait) = match fault {
                Fault::Trickle { bytes, every } => (data.split_to(bytes.clamp(1, data.len())), Some(every)),
                _ => (std::mem::take(&mut data), None),
            };
            if client.send_data(piece).await.is_err() {
                return;
            }
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// A client's connection. Dropping it resets it instead of closing it if `reset` is set.
struct ClientStream {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger(); // on an error the connection is already closed
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(())); // a FIN would precede the RST
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
