//! A proxy that fails on purpose: what becomes of each request is for the test's script to say.
//!
//! It runs on a thread of its own, so that it goes on while a test waits for a process without `await`. Connections of
//! clients are kept alive, as S3 does; each request goes to the server behind on a new one.

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

/// How long what was sent gets to arrive before its connection is cut off: a reset takes away what is still on its way.
const ARRIVAL: Duration = Duration::from_millis(50);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing out of the ordinary: it is passed on, and so is the answer.
    None,
    /// It is not passed on, and this is the answer, with the body that S3 has for this code.
    Refusal(StatusCode, &'static str),
    /// It is not passed on, and there is no answer for as long as the client waits.
    Silence,
    /// The connection is reset (RST) when so many bytes of the answer's body were sent. One that has no more than these
    /// ends well.
    Reset {
        /// How many.
        after: usize,
    },
    /// The connection is closed in good order (FIN) there, although more was announced.
    Close {
        /// How many bytes.
        after: usize,
    },
    /// The answer's body comes slowly; with a long wait, it stalls.
    Trickle {
        /// So many bytes at a time,
        bytes: usize,
        /// with this long after each.
        every: Duration,
    },
}

impl Fault {
    /// What S3 answers to who asks too much: 503.
    pub const SLOW_DOWN: Self = Self::Refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    /// What S3 answers when something failed there: 500.
    pub const INTERNAL_ERROR: Self = Self::Refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    /// What S3 answers to who has no right: 403.
    pub const ACCESS_DENIED: Self = Self::Refusal(StatusCode::FORBIDDEN, "AccessDenied");
}

/// A request that the proxy was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// The bucket in its path.
    pub bucket: String,
    /// The key in its path, decoded; empty where the bucket itself is meant, as when it is listed.
    pub key: String,
    /// Its query, as it came; empty without one.
    pub query: String,
    /// The header `Range`: `bytes=0-99`.
    pub range: Option<String>,
    /// The header `If-Match`.
    pub if_match: Option<String>,
    /// How many requests with this method, bucket and key there were, with this one. Retries count.
    pub nth: usize,
}

/// The proxy, on a port of its own. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    seen: Log,
    _running: oneshot::Sender<Infallible>,
}

type Log = Arc<Mutex<Vec<Seen>>>;
type Body = BoxBody<Bytes, io::Error>;

impl Proxy {
    /// Starts one before `server`. The script is asked about each request, and a request waits for what the script
    /// awaits: so it can replace an object just before the second range of it is read.
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
    pub fn start(server: SocketAddr, script: impl AsyncFn(&Seen) -> Fault + Send + 'static) -> Self {
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With these a program of the AWS SDK takes it for S3.
    pub fn variables(&self) -> [(&'static str, OsString); 4] {
        variables(self.address)
    }

    /// The requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests there were so far with this method for this key.
    pub fn count(&self, method: &Method, key: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.method == method && seen.key == key).count()
    }
}

async fn accept<F>(listener: TcpListener, server: SocketAddr, script: Rc<F>, log: Log)
where
    F: AsyncFn(&Seen) -> Fault + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let reset = Arc::new(AtomicBool::new(false));
        let stream = Front { stream, reset: Arc::clone(&reset) };
        let (script, log) = (Rc::clone(&script), Arc::clone(&log));
        let service = service_fn(move |request| {
            let (script, log, reset) = (Rc::clone(&script), Arc::clone(&log), Arc::clone(&reset));
            async move {
                let seen = note(&request, &log);
                let fault = script(&seen).await;
                Ok::<_, Infallible>(answer(request, server, fault, reset).await)
            }
        });
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn note(request: &Request<Incoming>, log: &Log) -> Seen {
    let header = |name: HeaderName| {
        let value = request.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let path = request.uri().path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let mut seen = Seen {
        method: request.method().clone(),
        bucket: bucket.to_owned(),
        key: percent_decode_str(key).decode_utf8_lossy().into_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: header(RANGE),
        if_match: header(IF_MATCH),
        nth: 1,
    };
    let mut log = log.lock().unwrap();
    let alike =
        |other: &&Seen| (&other.method, &other.bucket, &other.key) == (&seen.method, &seen.bucket, &seen.key);
    seen.nth += log.iter().filter(alike).count();
    log.push(seen.clone());
    seen
}

async fn answer(
    request: Request<Incoming>,
    server: SocketAddr,
    fault: Fault,
    reset: Arc<AtomicBool>,
) -> Response<Body> {
    match fault {
        Fault::Silence => std::future::pending().await,
        Fault::Refusal(status, code) => {
            let _ = request.into_body().collect().await; // S3 reads what it refuses, too
            refusal(status, code, "The test wants it so.")
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
    // What concerns a connection, and what hyper has seen to.
    for name in [CONNECTION, EXPECT, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    let mut response = sender.send_request(request).await?;
    for name in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

/// The body of an answer on its way to the client, with what is to go wrong with it.
fn faulty(body: Incoming, fault: Fault, reset: Arc<AtomicBool>) -> Body {
    let (sender, passed_on) = Channel::new(1);
    spawn_local(pass_on(body, fault, reset, sender));
    passed_on.boxed()
}

async fn pass_on(
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
                // An error here, and below, is a client that went away.
                let _ = client.send_data(data.slice(..*left)).await;
                tokio::time::sleep(ARRIVAL).await;
                reset.store(matches!(fault, Fault::Reset { .. }), Ordering::Relaxed);
                return client.abort(io::Error::other("the test wants it so"));
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

/// A client's connection, which is reset instead of closed when it is dropped, if that is wanted.
struct Front {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Front {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger(); // an error is a connection that is gone already
        }
    }
}

impl AsyncRead for Front {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Front {
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
            return Poll::Ready(Ok(())); // a FIN would come before the RST
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
