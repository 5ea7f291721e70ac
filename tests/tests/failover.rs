//! The load balancer when hosts fail. It never sends a POST twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use conformance::{Transport as _, golden};
use http::{Request, Response};
use local::{Fleet, FleetSettings, LoadBalancer, LoadBalancerSettings, free_address, program};
use rig::{Fault, HttpProxy, start_load_balancer, until};
use support::serving::Socket;

async fn balance(hosts: &[&HttpProxy]) -> LoadBalancer {
    let addresses: Vec<SocketAddr> = hosts.iter().map(|host| host.address()).collect();
    start_load_balancer(&addresses, LoadBalancerSettings::default()).await.unwrap()
}

async fn send(address: SocketAddr, method: &str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri("/cart").header("content-type", "application/json");
    Socket(address).call(request.body(Bytes::from_static(br#"{"sku_id":1}"#)).unwrap()).await
}

#[tokio::test]
async fn requests_are_distributed_evenly() {
    let hosts = [
        &HttpProxy::alone(Fault::Respond(200, "first")),
        &HttpProxy::alone(Fault::Respond(200, "second")),
        &HttpProxy::alone(Fault::Respond(200, "third")),
    ];
    let balancer = balance(&hosts).await;
    let mut responses = HashMap::new();
    for _ in 0..30 {
        *responses.entry(send(balancer.address(), "GET").await.into_body()).or_insert(0) += 1;
    }
    assert_eq!(responses.len(), 3);
    assert!(responses.values().all(|&count| count == 10), "{responses:?}");
}

/// Both hosts fail alike, so any retry would be visible.
#[tokio::test]
async fn a_post_is_never_sent_twice() {
    for (reaction, status) in [(Fault::Disconnect, 502), (Fault::Hang, 504), (Fault::Respond(503, ""), 503)] {
        let hosts = [&HttpProxy::alone(reaction), &HttpProxy::alone(reaction)];
        let balancer = balance(&hosts).await;
        let response = send(balancer.address(), "POST").await;
        assert_eq!(response.status(), status, "{reaction:?}");
        assert_eq!(hosts[0].requests().len() + hosts[1].requests().len(), 1, "{reaction:?}");
        if status != 503 {
            let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(problem["status"], status);
            assert!(
                problem["detail"].as_str().unwrap().contains("A change to a cart may have been carried out")
            );
        }
    }
}

#[tokio::test]
async fn a_failed_delete_is_retried_because_it_is_idempotent() {
    for reaction in [Fault::Disconnect, Fault::Hang, Fault::Respond(503, "")] {
        let hosts = [&HttpProxy::alone(reaction), &HttpProxy::alone(Fault::Respond(204, "good"))];
        let balancer = balance(&hosts).await;
        for _ in 0..2 {
            assert_eq!(send(balancer.address(), "DELETE").await.status(), 204, "{reaction:?}");
        }
        assert_eq!(hosts[0].requests().len(), 1, "{reaction:?}");
    }
}

#[tokio::test]
async fn a_post_that_no_host_has_received_is_retried() {
    let alive = HttpProxy::alone(Fault::Respond(201, "alive"));
    let hosts = [free_address().unwrap(), alive.address()];
    let balancer = start_load_balancer(&hosts, LoadBalancerSettings::default()).await.unwrap();
    for sent in 1..=10 {
        assert_eq!(send(balancer.address(), "POST").await.status(), 201);
        assert_eq!(alive.requests().len(), sent);
    }
}

#[tokio::test]
async fn a_failed_get_is_retried_and_the_failed_host_is_avoided() {
    for reaction in [
        Fault::Disconnect,
        Fault::Hang,
        Fault::Respond(502, ""),
        Fault::Respond(503, ""),
        Fault::Respond(504, ""),
    ] {
        let hosts = [&HttpProxy::alone(reaction), &HttpProxy::alone(Fault::Respond(200, "good"))];
        let balancer = balance(&hosts).await;
        for _ in 0..10 {
            let response = send(balancer.address(), "GET").await;
            assert_eq!(
                (response.status().as_u16(), &response.body()[..]),
                (200, &b"good"[..]),
                "{reaction:?}"
            );
        }
        let tried = hosts[0].requests().len();
        assert!((1..10).contains(&tried), "{reaction:?}: the failing host received {tried} of 10 requests");
    }
}

/// A fault that the request causes would recur on the next host.
#[tokio::test]
async fn a_500_is_forwarded_without_a_retry() {
    let hosts =
        [&HttpProxy::alone(Fault::Respond(500, "first")), &HttpProxy::alone(Fault::Respond(500, "second"))];
    let balancer = balance(&hosts).await;
    for sent in 1..=10 {
        assert_eq!(send(balancer.address(), "GET").await.status(), 500);
        assert_eq!(hosts[0].requests().len() + hosts[1].requests().len(), sent);
    }
}

/// This is the case when the database is unavailable. NGINX excludes no host for long, because each host knows best
/// which responses it can still serve.
#[tokio::test]
async fn when_all_hosts_return_503_clients_get_a_host_s_response() {
    let hosts = [
        &HttpProxy::alone(Fault::Respond(503, "away")),
        &HttpProxy::alone(Fault::Respond(503, "away")),
        &HttpProxy::alone(Fault::Respond(503, "away")),
    ];
    let balancer = balance(&hosts).await;
    for number in 0..30 {
        let response = send(balancer.address(), if number % 2 == 0 { "GET" } else { "POST" }).await;
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (503, &b"away"[..]),
            "request {number}"
        );
    }
}

/// Starts three real hosts over the hand-made dataset, with their files in `directory`.
async fn fleet(directory: &tempfile::TempDir) -> Fleet {
    let mut server = Command::new(program("atelier-host").unwrap());
    server.env("DATABASE_URL", support::small().await.database.host_url());
    let settings = FleetSettings { log_access: true, ..FleetSettings::default() };
    Fleet::start(directory.path(), free_address().unwrap(), &server, &settings).await.unwrap()
}

/// Sends requests continuously during `meanwhile`, and 20 more. All must succeed.
async fn request_during(address: SocketAddr, meanwhile: impl Future<Output = ()>) {
    let (done, sent_requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (done, sent_requests, expected) = (&done, &sent_requests, &golden("/products/1"));
    let request = async || {
        let mut left = 20;
        while left > 0 {
            let response =
                Socket(address).call(Request::get("/products/1").body(Bytes::new()).unwrap()).await;
            assert_eq!((response.status().as_u16(), &response.body()[..]), (200, expected.as_bytes()));
            sent_requests.fetch_add(1, Ordering::Relaxed);
            left -= usize::from(done.load(Ordering::Relaxed));
        }
    };
    let meanwhile = async {
        until("requests are in flight", async || sent_requests.load(Ordering::Relaxed) >= 20).await;
        meanwhile.await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(request(), request(), request(), request(), meanwhile);
}

#[tokio::test]
async fn killing_or_stopping_a_host_fails_no_get_and_the_restarted_host_serves_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet = fleet(&directory).await;
    let address = fleet.address();
    let host = &mut fleet.hosts_mut()[0];
    request_during(address, async {
        host.kill().await.unwrap();
        host.start().await.unwrap();
        host.stop().await.unwrap();
        host.start().await.unwrap();
    })
    .await;
    let lines = || std::fs::read_to_string(host.log()).unwrap().matches("/products/{product_id}").count();
    let before = lines();
    until("the host receives requests again", async || {
        request_during(address, async {}).await;
        lines() > before
    })
    .await;
    fleet.stop().await.unwrap();
}

#[tokio::test]
async fn a_hanging_host_fails_no_get() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = fleet(&directory).await;
    let host = &fleet.hosts()[1];
    request_during(fleet.address(), async { host.signal("STOP").unwrap() }).await;
    fleet.stop().await.unwrap();
}
