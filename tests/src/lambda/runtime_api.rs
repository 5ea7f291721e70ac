//! The Runtime API of one function, and the part of the Extensions API that a function needs to be notified of its
//! shutdown.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// Lambda's limit for a reply, in bytes.
const MAX_REPLY_BYTES: usize = 6_291_556;

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The function's reply.
    Reply(Bytes),
    /// The function reported an error.
    Error(Bytes),
    /// There was no reply by the deadline.
    TimedOut,
}

/// A Runtime API on a free port. Dropping it stops it, and a function that polls it exits, unless that function handles
/// several events concurrently.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct State {
    invocations: mpsc::UnboundedSender<Invocation>,
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    pending: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    next_id: AtomicUsize,
    /// The number of polls so far.
    polls: watch::Sender<usize>,
    /// The number of events that the function has received.
    taken: watch::Sender<usize>,
    /// The names of the extensions that the function has registered.
    extensions: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Bytes,
    deadline: SystemTime,
}

impl RuntimeApi {
    /// Listens for a function on a free port of the loopback interface.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (invocations, waiting) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            invocations,
            waiting: waiting.into(),
            pending: Mutex::default(),
            next_id: AtomicUsize::new(1),
            polls: watch::Sender::new(0),
            taken: watch::Sender::new(0),
            extensions: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { address, state, accepting }
    }

    /// Returns the value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends an event to the function, and waits for the outcome until this timeout.
    pub async fn invoke(&self, event: impl Into<Bytes>, within: Duration) -> Outcome {
        let id =
            format!("00000000-0000-4000-8000-{:012}", self.state.next_id.fetch_add(1, Ordering::Relaxed));
        let (sender, outcome) = oneshot::channel();
        self.state.pending.lock().unwrap().insert(id.clone(), sender);
        let invocation = Invocation { id, event: event.into(), deadline: SystemTime::now() + within };
        self.state.invocations.send(invocation).unwrap();
        match tokio::time::timeout(within, outcome).await {
            Ok(outcome) => outcome.unwrap(),
            Err(_) => Outcome::TimedOut,
        }
    }

    /// Waits until the function has polled this many times in total. It polls when it is idle.
    pub async fn polled(&self, times: usize) {
        self.state.polls.subscribe().wait_for(|polls| *polls >= times).await.unwrap();
    }

    /// Waits until the function has received this many events in total.
    pub async fn taken(&self, events: usize) {
        self.state.taken.subscribe().wait_for(|taken| *taken >= events).await.unwrap();
    }

    /// Returns the names of the extensions that the function has registered.
    pub fn extensions(&self) -> Vec<String> {
        self.state.extensions.lock().unwrap().clone()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(state.respond(request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

impl State {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        match (parts.method.as_str(), &path[..]) {
            ("GET", ["2018-06-01", "runtime", "invocation", "next"]) => self.next().await,
            ("POST", ["2018-06-01", "runtime", "invocation", id, "response"]) => {
                let body = body.collect().await.unwrap().to_bytes();
                if body.len() > MAX_REPLY_BYTES {
                    return Response::builder()
                        .status(StatusCode::PAYLOAD_TOO_LARGE)
                        .body(Full::default())
                        .unwrap();
                }
                self.complete(id, Outcome::Reply(body))
            }
            ("POST", ["2018-06-01", "runtime", "invocation", id, "error"]) => {
                let body = body.collect().await.unwrap().to_bytes();
                self.complete(id, Outcome::Error(body))
            }
            ("POST", ["2020-01-01", "extension", "register"]) => {
                let name = parts.headers["lambda-extension-name"].to_str().unwrap().to_owned();
                self.extensions.lock().unwrap().push(name);
                let registered = r#"{"functionName":"tested","functionVersion":"1","handler":"bootstrap"}"#;
                let response = Response::builder().header("lambda-extension-identifier", "tested");
                response.body(Full::from(registered)).unwrap()
            }
            // The function subscribes to no events, so none is ever sent.
            ("GET", ["2020-01-01", "extension", "event", "next"]) => std::future::pending().await,
            _ => Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap(),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        self.polls.send_modify(|polls| *polls += 1);
        let invocation = self.waiting.lock().await.recv().await.unwrap();
        self.taken.send_modify(|taken| *taken += 1);
        let deadline = invocation.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Response::builder()
            .header("lambda-runtime-aws-request-id", invocation.id)
            .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:eu-central-1:123456789012:function:tested",
            )
            .header(
                "lambda-runtime-trace-id",
                "Root=1-6b057c40-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
            )
            .body(Full::new(invocation.event))
            .unwrap()
    }

    fn complete(&self, id: &str, outcome: Outcome) -> Response<Full<Bytes>> {
        let status = match self.pending.lock().unwrap().remove(id) {
            Some(sender) => {
                let _ = sender.send(outcome); // after the deadline the receiver is gone
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        };
        Response::builder().status(status).body(Full::from("{}")).unwrap()
    }
}
