//! Failures of hosts and of NGINX while they serve under load. A healthy host is always available, so no request may
//! fail. The tests print what the clients observed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod fleet;
mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleet::carts::Shoppers;
use fleet::load::{Load, assert_no_failures};
use fleet::{TEST_TIMEOUT, TestFleet, a_while, catalog};
use local::Host;
use rig::{Cluster, Fault, HttpProxy, HttpRequest, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The number of concurrent shoppers.
const SHOPPERS: usize = 16;

/// A fleet over a Postgres without failures.
struct Undisturbed {
    test_fleet: TestFleet,
    cluster: Cluster,
}

impl Undisturbed {
    async fn start() -> Self {
        let cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
        let database = catalog(&cluster, 1).await;
        Self { test_fleet: TestFleet::start(&database.host_url(), &[]).await, cluster }
    }

    fn address(&self) -> SocketAddr {
        self.test_fleet.fleet.address()
    }

    fn host(&mut self, nth: usize) -> &mut Host {
        &mut self.test_fleet.fleet.hosts_mut()[nth]
    }

    async fn stop(self) {
        self.test_fleet.stop().await;
        self.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn killing_and_restarting_a_host_fails_no_request() {
    let mut fleet = Undisturbed::start().await;
    let load = Load::start(fleet.address()).await;
    fleet.host(0).kill().await.unwrap();
    a_while().await;
    fleet.host(0).start().await.unwrap();
    load.end_without_failures("SIGKILL of a host, and its return").await;
    fleet.stop().await;
}

/// The stopped host keeps its connections and the requests on them. NGINX retries these requests on other hosts after
/// its timeout.
#[tokio::test]
async fn suspending_and_resuming_a_host_fails_no_request() {
    let mut fleet = Undisturbed::start().await;
    let load = Load::start(fleet.address()).await;
    fleet.host(1).signal("STOP").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await; // meanwhile NGINX tries the host again
    fleet.host(1).signal("CONT").unwrap();
    load.end_without_failures("SIGSTOP of a host, and SIGCONT").await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request_and_no_addition_to_a_cart() {
    let mut fleet = Undisturbed::start().await;
    let load = Load::start(fleet.address()).await;
    let shoppers = Shoppers::start(fleet.address(), SHOPPERS);
    for nth in 0..3 {
        fleet.host(nth).stop().await.unwrap();
        fleet.host(nth).start().await.unwrap();
    }
    let what = "restart of all three hosts, one after the other";
    load.end_without_failures(what).await;
    let statuses = shoppers.end(what).await;
    assert!(statuses.keys().eq([&201]), "{statuses:?}");
    fleet.stop().await;
}

/// The old workers close idle connections, possibly just when a client sends a request. Clients then retry, as browsers
/// do.
#[tokio::test]
async fn reloads_of_nginx_fail_no_request() {
    let mut fleet = Undisturbed::start().await;
    let load = Load::start(fleet.address()).await;
    for _ in 0..5 {
        local::signal(fleet.test_fleet.fleet.load_balancer().pid(), "HUP").unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let what = "five reloads of NGINX";
    assert_no_failures(what, &load.end(what).await);
    fleet.stop().await;
}

#[tokio::test]
async fn killing_a_host_fails_only_its_additions_in_flight_and_repeats_none() {
    let mut fleet = Undisturbed::start().await;
    let load = Load::start(fleet.address()).await;
    let shoppers = Shoppers::start(fleet.address(), SHOPPERS);
    a_while().await;
    fleet.host(2).kill().await.unwrap();
    a_while().await;
    fleet.host(2).start().await.unwrap();
    let what = "SIGKILL of a host that adds to carts, and its return";
    load.end_without_failures(what).await;
    let statuses = shoppers.end(what).await;
    let failed: u64 = statuses.iter().filter(|(status, _)| **status != 201).map(|(_, count)| count).sum();
    assert!(failed <= SHOPPERS as u64, "{statuses:?}");
    assert!(statuses.keys().all(|status| [201, 502].contains(status)), "{statuses:?}");
    fleet.stop().await;
}

/// A client with a persistent connection.
struct Client(TcpStream);

const REQUEST: &[u8] = b"GET /products/7/related HTTP/1.1\r\nhost: x\r\n\r\n";

impl Client {
    /// Returns a client that has received a response and is idle.
    async fn idle(server: SocketAddr) -> Self {
        let mut client = Self(TcpStream::connect(server).await.unwrap());
        client.0.write_all(REQUEST).await.unwrap();
        client.expect_response().await;
        client
    }

    /// Sends a request byte by byte, and waits for the response.
    async fn trickle(server: SocketAddr) {
        let mut client = Self(TcpStream::connect(server).await.unwrap());
        for byte in REQUEST {
            client.0.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client.expect_response().await;
    }

    async fn expect_response(&mut self) {
        let (mut response, mut part) = (Vec::new(), [0; 4096]);
        let reading = async {
            while !response.ends_with(b"]") {
                let read = self.0.read(&mut part).await.unwrap();
                assert!(read > 0, "the server closed the connection");
                response.extend_from_slice(&part[..read]);
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, reading).await.expect("no response");
        assert!(response.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&response));
    }
}

/// Raises the limit of open files for this process and its future children.
fn allow_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let maximum = limit.maximum.map(|maximum| maximum.max(needed));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
        raised.unwrap_or_else(|error| {
            panic!("{needed} open files needed, but `ulimit -Hn` allows {:?}: {error}", limit.maximum);
        });
    }
}

#[tokio::test]
async fn ten_thousand_idle_connections_and_slow_senders_fail_no_request() {
    const IDLE: usize = 10_000;
    const SLOW: usize = 200;
    allow_files(19_000);
    let fleet = Undisturbed::start().await;
    let address = fleet.address();
    let load = Load::start(address).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(Client::idle(address).await);
    }
    let slow: Vec<_> = (0..SLOW).map(|_| tokio::spawn(Client::trickle(address))).collect();
    for sender in slow {
        sender.await.unwrap();
    }
    for client in &mut idle {
        client.0.write_all(REQUEST).await.unwrap();
        client.expect_response().await;
    }
    load.end_without_failures("10,000 idle connections and 200 that send byte by byte").await;
    fleet.stop().await;
}

/// The load itself: what counts as a failure, and what is retried.
#[tokio::test]
async fn the_load_retries_lost_connections_and_counts_other_failures() {
    // Each of these requests has a new connection.
    let lost = Load::some(HttpProxy::alone(Fault::Disconnect).address(), 3).await;
    assert_eq!((lost.ok(), lost.retried, lost.failures.values().sum::<u64>()), (0, 0, 3), "{lost:?}");

    let unavailable = Load::some(HttpProxy::alone(Fault::Respond(503, "")).address(), 3).await;
    assert_eq!(unavailable.failures.get("503"), Some(&3), "{unavailable:?}");

    let server = HttpProxy::alone(Fault::Respond(200, "ten bytes."));
    let requests = AtomicUsize::new(0);
    let second_is_lost = async move |_: &HttpRequest| match requests.fetch_add(1, Ordering::Relaxed) {
        1 => Fault::Disconnect,
        _ => Fault::None,
    };
    let reused = Load::some(HttpProxy::start(server.address(), second_is_lost).address(), 2).await;
    assert_eq!((reused.ok(), reused.retried, reused.failures.len()), (2, 1, 0), "{reused:?}");

    let cut = HttpProxy::start(server.address(), async |_: &HttpRequest| Fault::Close { after: 4 });
    let cut = Load::some(cut.address(), 2).await;
    assert_eq!((cut.ok(), cut.retried, cut.failures.values().sum::<u64>()), (0, 0, 2), "{cut:?}");
}
