//! Readers who compare each answer with those of two catalogs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use conformance::{get, get_with};
use tokio::task::JoinHandle;

use super::{PRODUCTS, until};
use crate::stand::Document;
use crate::stand::serving::Socket;

/// How many read at a time.
const READERS: u32 = 4;

/// A product that every host has in memory: it is answered of the catalog before until the host hears of the next. Others
/// may be read from the new one before.
const ONE: i32 = 7;

/// What a reader may be answered of.
const EITHER: u8 = 0;
const OLD: u8 = 1;
const NEW: u8 = 2;
const STOP: u8 = 3;

/// All that is stored of both.
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

/// Several who ask for the overviews of products, which must be of one catalog or the other.
pub struct Readers {
    hosts: Vec<SocketAddr>,
    shared: Arc<Shared>,
    running: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Begins to ask, of hosts that serve the old catalog.
    pub async fn begin(server: SocketAddr, hosts: Vec<SocketAddr>, catalogs: Catalogs) -> Self {
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

    /// Waits until every host answers of the new catalog, and has readers insist on it from then on. Answers with how
    /// long that took.
    pub async fn find_new(&self) -> Duration {
        self.find(NEW).await
    }

    /// The same with the old one.
    pub async fn find_old(&self) -> Duration {
        self.find(OLD).await
    }

    async fn find(&self, expected: u8) -> Duration {
        let catalog = if expected == NEW { &self.shared.new } else { &self.shared.old };
        let path = overview(ONE);
        let found = until("every host answers of the other catalog", async || {
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

    /// Has readers take answers of both catalogs again.
    pub fn expect_either(&self) {
        self.shared.expected.store(EITHER, Ordering::SeqCst);
    }

    /// Lets them end, and answers with how many answers they have compared, all told.
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
        let answer = get_with(&Socket(shared.server), &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let is_of = |catalog: u8| text == (if catalog == NEW { &shared.new } else { &shared.old })[&id];
        // What changed meanwhile leaves it open which one it is.
        let is_right = match shared.expected.load(Ordering::SeqCst) {
            expected @ (OLD | NEW) if expected == before => is_of(expected),
            _ => is_of(OLD) || is_of(NEW),
        };
        assert!(is_right, "{path}, where {before} is expected: {text}");
        shared.compared.fetch_add(1, Ordering::Relaxed);
    }
}
