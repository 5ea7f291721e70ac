//! The Runtime API of one function, and as much of the Extensions API as a function needs to be told of its end.

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

/// What Lambda takes for a reply, in bytes.
const LONGEST_REPLY: usize = 6_291_556;

/// What became of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The function's answer.
    Reply(Bytes),
    /// The function said that it failed.
    Error(Bytes),
    /// There was no answer by the deadline.
    TimedOut,
}

/// A Runtime API on a port of its own. It ends when it is dropped; so does a function that polls it, unless it answers
/// several events at once.
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
    answers: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    next_id: AtomicUsize,
    /// How many times the function has asked for an event.
    polls: watch::Sender<usize>,
    /// How many events it was given.
    taken: watch::Sender<usize>,
    /// The names of the extensions it has registered.
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
            answers: Mutex::default(),
            next_id: AtomicUsize::new(1),
            polls: watch::Sender::new(0),
            taken: watch::Sender::new(0),
            extensions: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { address, state, accepting }
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the function answer an event, for which it gets as long as this.
    pub async fn invoke(&self, event: impl Into<Bytes>, within: Duration) -> Outcome {
        let id =
            format!("00000000-0000-4000-8000-{:012}", self.state.next_id.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.state.answers.lock().unwrap().insert(id.clone(), answer);
        let invocation = Invocation { id, event: event.into(), deadline: SystemTime::now() + within };
        self.state.invocations.send(invocation).unwrap();
        match tokio::time::timeout(within, answered).await {
            Ok(outcome) => outcome.unwrap(),
            Err(_) => Outcome::TimedOut,
        }
    }

    /// Waits until the function has asked for events this many times in all, which it does when it has nothing to do.
    pub async fn polled(&self, times: usize) {
        self.state.polls.subscribe().wait_for(|polls| *polls >= times).await.unwrap();
    }

    /// Waits until the function was given this many events in all.
    pub async fn taken(&self, events: usize) {
        self.state.taken.subscribe().wait_for(|taken| *taken >= events).await.unwrap();
    }

    /// The names of the extensions that the function has registered.
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
                if body.len() > LONGEST_REPLY {
                    return Response::builder()
                        .status(StatusCode::PAYLOAD_TOO_LARGE)
                        .body(Full::default())
                        .unwrap();
                }
                self.answered(id, Outcome::Reply(body))
            }
            ("POST", ["2018-06-01", "runtime", "invocation", id, "error"]) => {
                let body = body.collect().await.unwrap().to_bytes();
                self.answered(id, Outcome::Error(body))
            }
            ("POST", ["2020-01-01", "extension", "register"]) => {
                let name = parts.headers["lambda-extension-name"].to_str().unwrap().to_owned();
                self.extensions.lock().unwrap().push(name);
                let answer = r#"{"functionName":"tested","functionVersion":"1","handler":"bootstrap"}"#;
                let response = Response::builder().header("lambda-extension-identifier", "tested");
                response.body(Full::from(answer)).unwrap()
            }
            // Nothing is subscribed to, so there is never an event.
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

    fn answered(&self, id: &str, outcome: Outcome) -> Response<Full<Bytes>> {
        let status = match self.answers.lock().unwrap().remove(id) {
            Some(answer) => {
                let _ = answer.send(outcome); // nobody waits for it any more after the deadline
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        };
        Response::builder().status(status).body(Full::from("{}")).unwrap()
    }
}
