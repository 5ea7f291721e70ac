//! Asking for what no host has in memory, while the load asks for what all have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bench::open_loop::{Requests, Route};
use conformance::get;
use tokio::task::JoinHandle;

use super::PRODUCTS;
use crate::stand::serving::Socket;

/// The products that hosts are to have in memory are those up to this one.
const READ: u32 = 500;
/// So are these pages of the list, with so many products each.
const PAGES: u32 = 20;
const COUNT: u32 = 10;

/// How many ask at a time, each with a pause between its requests: a hundred a second or so, all told.
const ASKERS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(30);

/// Has a host read what [`read`] asks for.
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

/// For what a host that is warm has in memory, and nothing else.
pub fn read() -> Requests {
    Requests { pages: 1..=PAGES, counts: COUNT..=COUNT, ..Requests::of(Route::Product, READ) }
}

/// A product that nobody has asked for.
fn unread(nth: u64) -> String {
    let unread = u64::from(PRODUCTS - READ);
    let part = ["", "/styles", "/related"][usize::try_from(nth / unread).unwrap() % 3];
    format!("/products/{}{part}", u64::from(READ) + 1 + nth % unread)
}

/// What came of it so far.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    ok: AtomicU64,
    unavailable: AtomicU64,
    stop: AtomicBool,
}

/// Some who ask a server for one product after another that nobody has asked for.
pub struct Unread {
    server: SocketAddr,
    seen: Arc<Seen>,
    running: Vec<JoinHandle<()>>,
}

impl Unread {
    /// Begins to. Each answer must be 200, or 503 with `Retry-After`.
    pub fn begin(server: SocketAddr) -> Self {
        let seen = Arc::<Seen>::default();
        let running = (0..ASKERS).map(|_| tokio::spawn(ask_on(server, Arc::clone(&seen)))).collect();
        Self { server, seen, running }
    }

    /// How many were answered 200.
    pub fn ok(&self) -> u64 {
        self.seen.ok.load(Ordering::Relaxed)
    }

    /// How many were answered 503.
    pub fn unavailable(&self) -> u64 {
        self.seen.unavailable.load(Ordering::Relaxed)
    }

    /// Whether each of these hosts answers such a request with 200, NGINX aside.
    pub async fn is_answered_by(&self, hosts: &[SocketAddr]) -> bool {
        for &host in hosts {
            if ask(host, &self.seen).await != 200 {
                return false;
            }
        }
        true
    }

    /// Ends, and prints what was seen.
    pub async fn end(self, what: &str) {
        self.seen.stop.store(true, Ordering::Relaxed);
        for asker in self.running {
            asker.await.unwrap();
        }
        let (ok, unavailable) = (&self.seen.ok, &self.seen.unavailable);
        println!("{what}, what no host had in memory: ok {ok:?}, 503 with Retry-After {unavailable:?}");
    }
}

async fn ask_on(server: SocketAddr, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::Relaxed) {
        match ask(server, &seen).await {
            200 => &seen.ok,
            _ => &seen.unavailable,
        }
        .fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(server: SocketAddr, seen: &Seen) -> u16 {
    let path = unread(seen.asked.fetch_add(1, Ordering::Relaxed));
    let answer = get(&Socket(server), &path).await;
    let status = answer.status.as_u16();
    let is_well = status == 200 || (status == 503 && answer.header("retry-after") == "1");
    assert!(is_well, "{path}: {status}, {}", answer.text());
    status
}
