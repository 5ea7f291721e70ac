//! Shoppers who add to their carts continuously, and checks of the carts afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conformance::{Transport as _, get_with};
use http::{Request, Response};
use tokio::task::JoinHandle;

use crate::support::serving::Socket;

/// The pause between a response and the next request.
const PAUSE: Duration = Duration::from_millis(10);

/// Adds one unit of a SKU to a cart.
pub async fn add(server: SocketAddr, owner: &str) -> Response<Bytes> {
    let request = Request::post("/cart").header("content-type", "application/json");
    let request = request.header("authorization", owner).body(Bytes::from_static(br#"{"sku_id":1}"#));
    Socket(server).call(request.unwrap()).await
}

/// Returns the SKU's count in a cart.
async fn count(server: SocketAddr, owner: &str) -> u64 {
    let response = get_with(&Socket(server), "/cart", &[("authorization", owner)]).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let lines: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    lines[0]["count"].as_u64().unwrap_or_default()
}

/// Several shoppers, each with a cart.
pub struct Shoppers {
    server: SocketAddr,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<(String, BTreeMap<u16, u64>)>>,
}

impl Shoppers {
    /// Starts this many concurrent shoppers.
    pub fn start(server: SocketAddr, number: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let running =
            (0..number).map(|nth| tokio::spawn(add_until_stopped(server, nth, Arc::clone(&stop)))).collect();
        Self { server, stop, running }
    }

    /// Stops the shoppers; prints and returns the number of responses by status. Each cart must hold what was
    /// acknowledged, and at most the unacknowledged units beyond that.
    pub async fn end(self, what: &str) -> BTreeMap<u16, u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::<u16, u64>::new();
        for shopper in self.running {
            let (owner, statuses) = shopper.await.unwrap();
            let acknowledged = statuses.get(&201).copied().unwrap_or_default();
            let added: u64 = statuses.values().sum();
            let count = count(self.server, &owner).await;
            assert!((acknowledged..=added).contains(&count), "{owner} has {count}, statuses {statuses:?}");
            for (status, count) in statuses {
                *all.entry(status).or_default() += count;
            }
        }
        println!("{what}, additions to carts by status: {all:?}");
        all
    }
}

async fn add_until_stopped(
    server: SocketAddr,
    nth: usize,
    stop: Arc<AtomicBool>,
) -> (String, BTreeMap<u16, u64>) {
    let owner = format!("shopper {nth} {:x}", fastrand::u64(..));
    let mut statuses = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        *statuses.entry(add(server, &owner).await.status().as_u16()).or_default() += 1;
        tokio::time::sleep(PAUSE).await;
    }
    (owner, statuses)
}
