//! Requests for products that no host has cached, during a load of requests for cached ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conformance::get;
use tokio::task::JoinHandle;

use super::PRODUCTS;
use super::load::Requests;
use crate::support::serving::Socket;

/// The highest id of the products that hosts have cached.
const READ: u32 = 500;
/// The number of pages of the list that hosts have cached, and their length.
const PAGES: u32 = 20;
const COUNT: u32 = 10;

/// The number of concurrent clients, and the pause of each between its requests. Together they send about 100 requests
/// per second.
const CLIENTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(30);

/// Makes a host cache what [`read`] requests.
pub async fn warm(host: SocketAddr) {
    let host = Socket(host);
    for id in 1..=READ {
        for part in ["", "/styles", "/related"] {
            assert_eq!(get(&host, &format!("/products/{id}{part}")).await.status, 200);
        }
    }
    for page in 1..=PAGES {
        assert_eq!(get(&host, &format!("/products?page={page}&count={COUNT}")).await.status, 200);
    }
}

/// Returns requests for exactly what a warm host has cached.
pub fn read() -> Requests {
    Requests { products: READ, pages: PAGES, counts: (COUNT, COUNT) }
}

/// Returns the path of a product that nobody has requested.
fn unread(nth: u64) -> String {
    let unread = u64::from(PRODUCTS - READ);
    let part = ["", "/styles", "/related"][usize::try_from(nth / unread).unwrap() % 3];
    format!("/products/{}{part}", u64::from(READ) + 1 + nth % unread)
}

/// The results so far.
#[derive(Default)]
struct Results {
    requested: AtomicU64,
    ok: AtomicU64,
    unavailable: AtomicU64,
    stop: AtomicBool,
}

/// Several clients that request one uncached product after another.
pub struct Unread {
    server: SocketAddr,
    results: Arc<Results>,
    running: Vec<JoinHandle<()>>,
}

impl Unread {
    /// Starts the clients. Each response must be 200, or 503 with `Retry-After`.
    pub fn start(server: SocketAddr) -> Self {
        let results = Arc::<Results>::default();
        let running =
            (0..CLIENTS).map(|_| tokio::spawn(request_until_stopped(server, Arc::clone(&results)))).collect();
        Self { server, results, running }
    }

    /// Returns the number of 200s.
    pub fn ok(&self) -> u64 {
        self.results.ok.load(Ordering::Relaxed)
    }

    /// Returns the number of 503s.
    pub fn unavailable(&self) -> u64 {
        self.results.unavailable.load(Ordering::Relaxed)
    }

    /// Returns whether each of these hosts returns 200 for such a request, without NGINX.
    pub async fn succeeds_on(&self, hosts: &[SocketAddr]) -> bool {
        for &host in hosts {
            if request(host, &self.results).await != 200 {
                return false;
            }
        }
        true
    }

    /// Stops the clients, and prints the results.
    pub async fn end(self, what: &str) {
        self.results.stop.store(true, Ordering::Relaxed);
        for client in self.running {
            client.await.unwrap();
        }
        let (ok, unavailable) = (&self.results.ok, &self.results.unavailable);
        println!("{what}, uncached products: ok {ok:?}, 503 with Retry-After {unavailable:?}");
    }
}

async fn request_until_stopped(server: SocketAddr, results: Arc<Results>) {
    while !results.stop.load(Ordering::Relaxed) {
        match request(server, &results).await {
            200 => &results.ok,
            _ => &results.unavailable,
        }
        .fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn request(server: SocketAddr, results: &Results) -> u16 {
    let path = unread(results.requested.fetch_add(1, Ordering::Relaxed));
    let response = get(&Socket(server), &path).await;
    let status = response.status.as_u16();
    let is_expected = status == 200 || (status == 503 && response.header("retry-after") == "1");
    assert!(is_expected, "{path}: {status}, {}", response.text());
    status
}
