//! What can happen to hosts and to NGINX while they serve under load. A healthy host is always there, so no request may
//! fail. What the clients saw is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod fleet;
mod stand;

use std::net::SocketAddr;
use std::time::Duration;

use fleet::carts::Shoppers;
use fleet::load::{Load, all_well};
use fleet::{PATIENCE, Stage, a_while, catalog};
use local::{Cluster, Host, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many add to their carts at a time.
const SHOPPERS: usize = 16;

/// A fleet over a Postgres that nothing happens to.
struct Undisturbed {
    stage: Stage,
    cluster: Cluster,
}

impl Undisturbed {
    async fn set() -> Self {
        let cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
        let database = catalog(&cluster, 1).await;
        Self { stage: Stage::set(&database.host_url(), &[]).await, cluster }
    }

    fn address(&self) -> SocketAddr {
        self.stage.fleet.address()
    }

    fn host(&mut self, nth: usize) -> &mut Host {
        &mut self.stage.fleet.hosts_mut()[nth]
    }

    async fn strike(self) {
        self.stage.strike().await;
        self.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_host_that_is_killed_fails_no_request_nor_does_its_return() {
    let mut fleet = Undisturbed::set().await;
    let load = Load::begin(fleet.address()).await;
    fleet.host(0).kill().await.unwrap();
    a_while().await;
    fleet.host(0).start().await.unwrap();
    load.ends_well("SIGKILL of a host, and its return").await;
    fleet.strike().await;
}

/// It holds what it was sent, and keeps its connections. What it holds is answered by others, late.
#[tokio::test]
async fn a_host_that_is_stopped_fails_no_request_nor_does_its_going_on() {
    let mut fleet = Undisturbed::set().await;
    let load = Load::begin(fleet.address()).await;
    fleet.host(1).signal("STOP").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await; // NGINX tries it again meanwhile
    fleet.host(1).signal("CONT").unwrap();
    load.ends_well("SIGSTOP of a host, and SIGCONT").await;
    fleet.strike().await;
}

#[tokio::test]
async fn a_restart_of_one_host_after_the_other_fails_no_request_and_no_addition_to_a_cart() {
    let mut fleet = Undisturbed::set().await;
    let load = Load::begin(fleet.address()).await;
    let shoppers = Shoppers::begin(fleet.address(), SHOPPERS);
    for nth in 0..3 {
        fleet.host(nth).stop().await.unwrap();
        fleet.host(nth).start().await.unwrap();
    }
    let what = "restart of all three hosts, one after the other";
    load.ends_well(what).await;
    let statuses = shoppers.end(what).await;
    assert!(statuses.keys().eq([&201]), "{statuses:?}");
    fleet.strike().await;
}

/// The old workers close connections that are idle, maybe in the moment when a client sends something: clients ask again
/// then, as browsers do.
#[tokio::test]
async fn reloads_of_nginx_fail_no_request() {
    let mut fleet = Undisturbed::set().await;
    let load = Load::begin(fleet.address()).await;
    for _ in 0..5 {
        fleet.stage.fleet.balancer().reload().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let what = "five reloads of NGINX";
    all_well(what, &load.end(what).await);
    fleet.strike().await;
}

#[tokio::test]
async fn a_host_that_is_killed_fails_no_more_additions_to_carts_than_it_had_and_none_is_carried_out_twice() {
    let mut fleet = Undisturbed::set().await;
    let load = Load::begin(fleet.address()).await;
    let shoppers = Shoppers::begin(fleet.address(), SHOPPERS);
    a_while().await;
    fleet.host(2).kill().await.unwrap();
    a_while().await;
    fleet.host(2).start().await.unwrap();
    let what = "SIGKILL of a host that adds to carts, and its return";
    load.ends_well(what).await;
    let statuses = shoppers.end(what).await;
    let failed: u64 = statuses.iter().filter(|(status, _)| **status != 201).map(|(_, count)| count).sum();
    assert!(failed <= SHOPPERS as u64, "{statuses:?}");
    assert!(statuses.keys().all(|status| [201, 502].contains(status)), "{statuses:?}");
    fleet.strike().await;
}

/// A client on a connection that stays.
struct Client(TcpStream);

const REQUEST: &[u8] = b"GET /products/7/related HTTP/1.1\r\nhost: x\r\n\r\n";

impl Client {
    /// One that was answered, and is idle now.
    async fn idle(server: SocketAddr) -> Self {
        let mut client = Self(TcpStream::connect(server).await.unwrap());
        client.0.write_all(REQUEST).await.unwrap();
        client.is_answered().await;
        client
    }

    /// One that sends a request byte by byte, and is answered.
    async fn trickle(server: SocketAddr) {
        let mut client = Self(TcpStream::connect(server).await.unwrap());
        for byte in REQUEST {
            client.0.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client.is_answered().await;
    }

    async fn is_answered(&mut self) {
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        let reading = async {
            while !answer.ends_with(b"]") {
                let read = self.0.read(&mut part).await.unwrap();
                assert!(read > 0, "the connection has ended");
                answer.extend_from_slice(&part[..read]);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("there is no answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Lets this process, and those that it starts from now on, have so many files open.
fn allow_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let maximum = limit.maximum.map(|maximum| maximum.max(needed));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
        raised.unwrap_or_else(|error| {
            panic!("{needed} open files are needed, `ulimit -Hn` allows {:?}: {error}", limit.maximum);
        });
    }
}

#[tokio::test]
async fn ten_thousand_idle_connections_and_slow_senders_fail_no_request() {
    const IDLE: usize = 10_000;
    const SLOW: usize = 200;
    allow_files(19_000);
    let fleet = Undisturbed::set().await;
    let address = fleet.address();
    let load = Load::begin(address).await;
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
        client.is_answered().await;
    }
    load.ends_well("10,000 idle connections and 200 that send byte by byte").await;
    fleet.strike().await;
}
