//! Shoppers who add to their carts again and again, and what is in the carts afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conformance::{Transport as _, get_with};
use http::{Request, Response};
use tokio::task::JoinHandle;

use crate::stand::serving::Socket;

/// Between one answer and the next request.
const PAUSE: Duration = Duration::from_millis(10);

/// Adds one of a sku to somebody's cart.
pub async fn add(server: SocketAddr, owner: &str) -> Response<Bytes> {
    let request = Request::post("/cart").header("content-type", "application/json");
    let request = request.header("authorization", owner).body(Bytes::from_static(br#"{"sku_id":1}"#));
    Socket(server).call(request.unwrap()).await
}

/// How many of it are in there.
async fn count(server: SocketAddr, owner: &str) -> u64 {
    let answer = get_with(&Socket(server), "/cart", &[("authorization", owner)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    lines[0]["count"].as_u64().unwrap_or_default()
}

/// Several of them, with a cart each.
pub struct Shoppers {
    server: SocketAddr,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<(String, BTreeMap<u16, u64>)>>,
}

impl Shoppers {
    /// Begins to add, so many at a time.
    pub fn begin(server: SocketAddr, number: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let running = (0..number).map(|nth| tokio::spawn(add_on(server, nth, Arc::clone(&stop)))).collect();
        Self { server, stop, running }
    }

    /// Ends, prints how often they were answered with which status, and answers with it. Each cart must hold what was
    /// acknowledged, and beyond that no more than what was not.
    pub async fn end(self, what: &str) -> BTreeMap<u16, u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::<u16, u64>::new();
        for shopper in self.running {
            let (owner, statuses) = shopper.await.unwrap();
            let acknowledged = statuses.get(&201).copied().unwrap_or_default();
            let added: u64 = statuses.values().sum();
            let count = count(self.server, &owner).await;
            assert!((acknowledged..=added).contains(&count), "{owner} has {count}, answered {statuses:?}");
            for (status, count) in statuses {
                *all.entry(status).or_default() += count;
            }
        }
        println!("{what}, additions to carts by status: {all:?}");
        all
    }
}

async fn add_on(server: SocketAddr, nth: usize, stop: Arc<AtomicBool>) -> (String, BTreeMap<u16, u64>) {
    let owner = format!("shopper {nth} {:x}", fastrand::u64(..));
    let mut statuses = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        *statuses.entry(add(server, &owner).await.status().as_u16()).or_default() += 1;
        tokio::time::sleep(PAUSE).await;
    }
    (owner, statuses)
}
