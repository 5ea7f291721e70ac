//! Readers that compare each response with those of two catalogs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use conformance::{get, get_with};
use tokio::task::JoinHandle;

use super::{PRODUCTS, until};
use crate::support::Document;
use crate::support::serving::Socket;

/// The number of concurrent readers.
const READERS: u32 = 4;

/// A product that every host has cached: a host serves it from the old catalog until it learns of the new one. Other
/// products may already come from the new one.
const ONE: i32 = 7;

/// The catalogs that a reader accepts.
const EITHER: u8 = 0;
const OLD: u8 = 1;
const NEW: u8 = 2;
const STOP: u8 = 3;

/// All stored documents of both catalogs.
pub struct Catalogs {
    pub old: Vec<Document>,
    pub new: Vec<Document>,
}

struct Shared {
    server: SocketAddr,
    old: HashMap<i32, String>,
    new: HashMap<i32, String>,
    expected: AtomicU8,
    compared: AtomicU64,
}

/// Several readers of product overviews, each of which must be of one catalog or the other.
pub struct Readers {
    hosts: Vec<SocketAddr>,
    shared: Arc<Shared>,
    running: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts readers of hosts that serve the old catalog.
    pub async fn start(server: SocketAddr, hosts: Vec<SocketAddr>, catalogs: Catalogs) -> Self {
        let by_id = |all: Vec<Document>| all.iter().map(|one| (one.product_id, one.overview())).collect();
        let shared = Arc::new(Shared {
            server,
            old: by_id(catalogs.old),
            new: by_id(catalogs.new),
            expected: AtomicU8::new(EITHER),
            compared: AtomicU64::new(0),
        });
        assert_ne!(shared.old[&ONE], shared.new[&ONE]);
        for &host in &hosts {
            assert_eq!(get(&Socket(host), &overview(ONE)).await.text(), shared.old[&ONE]);
        }
        let running = (0..READERS).map(|_| tokio::spawn(read(Arc::clone(&shared)))).collect();
        Self { hosts, shared, running }
    }

    /// Waits until every host serves the new catalog; from then on the readers accept only that. Returns how long it
    /// took.
    pub async fn find_new(&self) -> Duration {
        self.find(NEW).await
    }

    /// Waits until every host serves the old catalog; from then on the readers accept only that. Returns how long it
    /// took.
    pub async fn find_old(&self) -> Duration {
        self.find(OLD).await
    }

    async fn find(&self, expected: u8) -> Duration {
        let catalog = if expected == NEW { &self.shared.new } else { &self.shared.old };
        let path = overview(ONE);
        let found = until("every host serves the other catalog", async || {
            for &host in &self.hosts {
                if get(&Socket(host), &path).await.text() != catalog[&ONE] {
                    return false;
                }
            }
            true
        });
        let after = found.await;
        self.shared.expected.store(expected, Ordering::SeqCst);
        after
    }

    /// Makes the readers accept both catalogs again.
    pub fn expect_either(&self) {
        self.shared.expected.store(EITHER, Ordering::SeqCst);
    }

    /// Stops the readers, and returns how many responses they have compared in total.
    pub async fn end(self) -> u64 {
        self.shared.expected.store(STOP, Ordering::SeqCst);
        for reader in self.running {
            reader.await.unwrap();
        }
        self.shared.compared.load(Ordering::Relaxed)
    }
}

fn overview(id: i32) -> String {
    format!("/products/{id}/overview")
}

async fn read(shared: Arc<Shared>) {
    loop {
        let before = shared.expected.load(Ordering::SeqCst);
        if before == STOP {
            return;
        }
        let id = fastrand::i32(1..=PRODUCTS.try_into().unwrap());
        let path = overview(id);
        let response = get_with(&Socket(shared.server), &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let text = response.text();
        let is_of = |catalog: u8| text == (if catalog == NEW { &shared.new } else { &shared.old })[&id];
        // If the expectation changed during the request, either catalog is right.
        let is_right = match shared.expected.load(Ordering::SeqCst) {
            expected @ (OLD | NEW) if expected == before => is_of(expected),
            _ => is_of(OLD) || is_of(NEW),
        };
        assert!(is_right, "{path}, expected {before}: {text}");
        shared.compared.fetch_add(1, Ordering::Relaxed);
    }
}
