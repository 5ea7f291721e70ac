//! A steady rate of requests during a test, and a report of the results.
//!
//! Requests are sent when they are due, however late other responses are (an open loop), and their latency counts from
//! then. A request takes an idle connection, or opens another one. Like a browser, the client retries a request once if a
//! reused connection ends before the response: a server may close it as idle at the moment when the request is sent. No
//! load generator tells these apart from lost requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT_ENCODING, HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::{PRODUCTS, a_while, rate};

/// A request may take as long as a person waits. It has failed only if there is no response by then.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of connections. A hanging host delays many requests until NGINX notices, and each of them holds a
/// connection.
const MAX_CONNECTIONS: usize = 8192;

/// The concurrent requests, the duration and the number of the trials that measure the machine's maximum rate, and the
/// largest share of it that the load may use. On a busier machine, hosts respond late and NGINX treats them as hanging.
const CLIENTS: usize = 64;
const TRIAL: Duration = Duration::from_secs(1);
const TRIALS: usize = 3;
const SHARE: f64 = 0.5;

/// The min share of the requests that became due and were sent by the end. Without load nothing could fail.
const PRESENT: f64 = 0.9;

/// The products and pages to request: each at random.
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    /// Product ids range from 1 to this.
    pub products: u32,
    /// Pages range from 1 to this.
    pub pages: u32,
    /// Products per page, at least and at most.
    pub counts: (u32, u32),
}

impl Requests {
    /// Returns requests for any product and any page of the catalog.
    pub fn all() -> Self {
        Self { products: PRODUCTS, pages: PRODUCTS / 5, counts: (5, 10) }
    }

    /// Returns a random path on one of four routes.
    fn path(&self) -> String {
        let id = fastrand::u32(1..=self.products);
        match fastrand::u8(..4) {
            0 => {
                let (page, (least, most)) = (fastrand::u32(1..=self.pages), self.counts);
                format!("/products?page={page}&count={}", fastrand::u32(least..=most))
            }
            1 => format!("/products/{id}"),
            2 => format!("/products/{id}/styles"),
            _ => format!("/products/{id}/related"),
        }
    }
}

/// The results of a load.
#[derive(Debug, Default)]
pub struct Report {
    /// Latencies of responses from 200 to 299, in ascending order.
    latencies: Vec<Duration>,
    /// The other statuses and errors, with their numbers.
    pub failures: BTreeMap<String, u64>,
    /// Requests that were sent again.
    pub retried: u64,
}

impl Report {
    /// Returns the number of responses from 200 to 299.
    pub fn ok(&self) -> usize {
        self.latencies.len()
    }

    /// Returns the latency that this many percent of the responses do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).copied().unwrap_or_default()
    }
}

type Connection = SendRequest<Empty<Bytes>>;

/// The end of a connection during a request.
#[derive(Debug)]
#[expect(dead_code, reason = "the errors are printed")]
enum Lost {
    BeforeResponse(hyper::Error),
    WithinResponse(hyper::Error),
}

/// A client of one server that keeps its connections.
struct Client {
    server: SocketAddr,
    idle: Mutex<Vec<Connection>>,
    report: Mutex<Report>,
}

impl Client {
    fn new(server: SocketAddr) -> Arc<Self> {
        Arc::new(Self { server, idle: Mutex::default(), report: Mutex::default() })
    }

    /// Sends a request that is due at `due` and records the result.
    async fn send(&self, path: String, due: Instant) {
        let result = match timeout(TIMEOUT, self.response(&path)).await {
            Ok(Ok(200..300)) => Ok(due.elapsed()),
            Ok(Ok(status)) => Err(status.to_string()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("timed out".to_owned()),
        };
        let mut report = self.report.lock().unwrap();
        match result {
            Ok(latency) => report.latencies.push(latency),
            Err(failure) => *report.failures.entry(failure).or_default() += 1,
        }
    }

    async fn response(&self, path: &str) -> Result<u16, String> {
        let reused = self.idle.lock().unwrap().pop();
        if let Some(connection) = reused {
            match self.exchange(connection, path).await {
                Err(Lost::BeforeResponse(_)) => self.report.lock().unwrap().retried += 1,
                done => return done.map_err(|lost| format!("{lost:?}")),
            }
        }
        let stream = TcpStream::connect(self.server).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).unwrap();
        let (connection, task) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(task);
        self.exchange(connection, path).await.map_err(|lost| format!("{lost:?}"))
    }

    async fn exchange(&self, mut connection: Connection, path: &str) -> Result<u16, Lost> {
        connection.ready().await.map_err(Lost::BeforeResponse)?;
        let request = Request::get(path).header(HOST, "load").header(ACCEPT_ENCODING, "gzip");
        let response = connection.send_request(request.body(Empty::new()).unwrap()).await;
        let response = response.map_err(Lost::BeforeResponse)?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(Lost::WithinResponse)?;
        if connection.ready().await.is_ok() {
            self.idle.lock().unwrap().push(connection);
        }
        Ok(status)
    }
}

/// A load on a server.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    begun: Instant,
    client: Arc<Client>,
    running: JoinHandle<()>,
    /// The threads of the client, which go on while a test blocks its own.
    runtime: Runtime,
}

impl Load {
    /// Starts requests for any product of the catalog on each of the four routes, and waits a while.
    pub async fn start(server: SocketAddr) -> Self {
        Self::of(server, Requests::all()).await
    }

    /// Sends one request after another, and returns the report.
    pub async fn some(server: SocketAddr, count: u32) -> Report {
        let client = Client::new(server);
        for _ in 0..count {
            client.send(Requests::all().path(), Instant::now()).await;
        }
        std::mem::take(&mut *client.report.lock().unwrap())
    }

    /// Starts requests for these ids and pages, and waits a while.
    pub async fn of(server: SocketAddr, requests: Requests) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut best: f64 = 0.0;
        for _ in 0..TRIALS {
            best = best.max(runtime.spawn(max_rate(server, requests)).await.unwrap());
        }
        let (rate, most) = (rate(), SHARE * best);
        assert!(
            rate <= most,
            "FLEET_RATE={rate}: expected at most {most:.0}, half of this machine's maximum"
        );
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = Client::new(server);
        let sending =
            send_until_stopped(Arc::clone(&client), requests, rate, Arc::clone(&stop), Arc::clone(&sent));
        let running = runtime.spawn(sending);
        let load = Self { stop, sent, begun: Instant::now(), client, running, runtime };
        a_while().await;
        load
    }

    /// Waits a while, stops the load, and prints and returns its report.
    pub async fn end(self, what: &str) -> Report {
        a_while().await;
        let lasted = self.begun.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap();
        self.runtime.shutdown_background();
        let mut report = std::mem::take(&mut *self.client.report.lock().unwrap());
        report.latencies.sort_unstable();
        let sent = self.sent.load(Ordering::Relaxed);
        println!(
            "{what}: sent {sent}, ok {}, failed {:?}, retried {}, p50 {:.1?}, p99 {:.1?}, slowest {:.1?}",
            report.latencies.len(),
            report.failures,
            report.retried,
            report.percentile(50),
            report.percentile(99),
            report.percentile(100),
        );
        assert!(sent as f64 >= rate() * lasted.as_secs_f64() * PRESENT, "{what}: {sent} in {lasted:?}");
        report
    }

    /// Stops the load. No request may have failed, and no connection may have been lost.
    pub async fn end_without_failures(self, what: &str) {
        let report = self.end(what).await;
        assert_eq!(report.retried, 0, "{what}: connections were lost");
        assert_no_failures(what, &report);
    }
}

/// Sends requests at this rate per second, and returns when the last one is done.
async fn send_until_stopped(
    client: Arc<Client>,
    requests: Requests,
    rate: f64,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) {
    let start = Instant::now();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut running = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        let due = start + Duration::from_secs_f64(sent.load(Ordering::Relaxed) as f64 / rate);
        sleep_until(due).await;
        let permit = Arc::clone(&connections).acquire_owned().await.unwrap();
        let client = Arc::clone(&client);
        running.spawn(async move {
            client.send(requests.path(), due).await;
            drop(permit);
        });
        sent.fetch_add(1, Ordering::Relaxed);
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
}

/// Returns the responses per second of a closed loop.
async fn max_rate(server: SocketAddr, requests: Requests) -> f64 {
    let (client, start) = (Client::new(server), Instant::now());
    let clients = (0..CLIENTS).map(|_| {
        let client = Arc::clone(&client);
        async move {
            while start.elapsed() < TRIAL {
                client.send(requests.path(), Instant::now()).await;
            }
        }
    });
    clients.collect::<JoinSet<()>>().join_all().await;
    let report = client.report.lock().unwrap();
    assert_no_failures("before anything happens", &report);
    report.latencies.len() as f64 / start.elapsed().as_secs_f64()
}

/// Asserts that there were requests, and that none failed.
pub fn assert_no_failures(what: &str, report: &Report) {
    assert!(!report.latencies.is_empty() && report.failures.is_empty(), "{what}: {:?}", report.failures);
}
