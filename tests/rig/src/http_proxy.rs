//! A proxy in front of an HTTP server, or a server by itself: a test's script chooses a fault for each request.
//!
//! The proxy runs on a separate thread, so that it continues while a test waits for a process without `await`. It keeps
//! connections of clients alive, and sends each request to the server on a new connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full, channel};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

/// The time for sent data to arrive before the connection is reset: a reset discards data that is still in transit.
const ARRIVAL: Duration = Duration::from_millis(50);

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the proxy forwards the request and the response.
    None,
    /// The proxy does not forward the request, and returns this status and body.
    Respond(u16, &'static str),
    /// The proxy does not forward the request, and closes the connection without a response.
    Disconnect,
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

/// A request that the proxy has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path and the query as received.
    pub target: String,
    /// The path without its first segment, decoded: the key of an S3 object. Empty for a request on the bucket itself.
    pub key: String,
    /// The version of HTTP.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The number of requests with this method and path so far, with this one. Retries count.
    pub nth: usize,
}

impl HttpRequest {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the path as received.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The proxy, on a free port. Dropping it closes all its connections.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    seen: Log,
    _running: oneshot::Sender<Infallible>,
}

type Log = Arc<Mutex<Vec<HttpRequest>>>;
type Body = BoxBody<Bytes, io::Error>;

impl HttpProxy {
    /// Starts a proxy in front of `server`. The script runs once for each request, and the proxy waits for it. So it can
    /// replace an object just before the second range of it is read.
    ///
    /// ```no_run
    /// # use rig::{Fault, HttpProxy};
    /// # async fn example(server: std::net::SocketAddr) {
    /// let proxy = HttpProxy::start(server, async |seen| match (seen.key.as_str(), seen.nth) {
    ///     ("incoming/spring/skus.csv", 1..=3) => Fault::Hang,
    ///     ("incoming/spring/styles.csv", 2) => Fault::Reset { after: 1000 },
    ///     _ => Fault::None,
    /// });
    /// # }
    /// ```
    pub fn start(server: SocketAddr, script: impl AsyncFn(&HttpRequest) -> Fault + Send + 'static) -> Self {
        Self::start_thread(Some(server), script)
    }

    /// Starts a server that reacts to each request with the same fault, without another server.
    pub fn alone(fault: Fault) -> Self {
        Self::start_thread(None, async move |_| fault)
    }

    fn start_thread(
        server: Option<SocketAddr>,
        script: impl AsyncFn(&HttpRequest) -> Fault + Send + 'static,
    ) -> Self {
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
                let script = Rc::new(Script { server, script, log });
                let accept = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        spawn_local(serve(stream, Rc::clone(&script)));
                    }
                };
                tokio::select! {
                    () = accept => (),
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

    /// Returns the requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the number of requests so far with this method and key.
    pub fn count(&self, method: &Method, key: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.method == method && seen.key == key).count()
    }
}

/// Serves the requests of one connection.
async fn serve<F: AsyncFn(&HttpRequest) -> Fault>(stream: TcpStream, script: Rc<Script<F>>) {
    let _ = stream.set_nodelay(true); // fails if the client has disconnected
    let is_reset = Rc::new(Cell::new(false));
    let respond = |request| Box::pin(script.respond(request, Rc::clone(&is_reset)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond));
    // The connection is not shut down, because a FIN would precede the RST. Each error is a fault of the script, or
    // means that the client has disconnected.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    if is_reset.get() {
        let _ = connection.into_parts().io.into_inner().set_zero_linger(); // fails if it is closed already
    }
}

/// A test's script, with the server and the log of requests.
struct Script<F> {
    server: Option<SocketAddr>,
    script: F,
    log: Log,
}

impl<F: AsyncFn(&HttpRequest) -> Fault> Script<F> {
    async fn respond(
        &self,
        request: Request<Incoming>,
        is_reset: Rc<Cell<bool>>,
    ) -> io::Result<Response<Body>> {
        let seen = self.record(&request);
        match (self.script)(&seen).await {
            Fault::Hang => std::future::pending().await,
            Fault::Disconnect => Err(io::Error::other("injected by the test")),
            Fault::Respond(status, body) => {
                let _ = request.into_body().collect().await; // S3 also reads the body of a request that it rejects
                Ok(response(StatusCode::from_u16(status).unwrap(), body.to_owned()))
            }
            fault => match self.forward(request).await {
                Ok(response) => Ok(response.map(|body| {
                    let (sender, forwarded) = Channel::new(1);
                    spawn_local(forward_body(body, fault, is_reset, sender));
                    forwarded.boxed()
                })),
                Err(error) => Ok(response(StatusCode::BAD_GATEWAY, error.to_string())),
            },
        }
    }

    fn record(&self, request: &Request<Incoming>) -> HttpRequest {
        let path = request.uri().path().trim_start_matches('/');
        let key = path.split_once('/').unwrap_or_default().1;
        let mut seen = HttpRequest {
            method: request.method().clone(),
            target: request.uri().to_string(),
            key: percent_decode_str(key).decode_utf8_lossy().into_owned(),
            version: request.version(),
            headers: request.headers().clone(),
            nth: 1,
        };
        let mut log = self.log.lock().unwrap();
        let alike = |other: &&HttpRequest| other.method == seen.method && other.path() == seen.path();
        seen.nth += log.iter().filter(alike).count();
        log.push(seen.clone());
        seen
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(self.server.ok_or("the proxy has no server")?).await?;
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
}

fn response(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

/// Sends a response's body with the fault injected.
async fn forward_body(
    mut body: Incoming,
    fault: Fault,
    is_reset: Rc<Cell<bool>>,
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
                is_reset.set(matches!(fault, Fault::Reset { .. }));
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
