//! What the balancer does when hosts fail, and what it never does: send a POST twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use conformance::{Transport as _, golden};
use http::{Request, Response};
use local::{Balancer, BalancerSettings, Fleet, FleetSettings, free_address, program};
use stand::loader::until;
use stand::scripted::{Act, ScriptedHost};
use stand::serving::Socket;

async fn balance(hosts: &[&ScriptedHost]) -> Balancer {
    let addresses: Vec<SocketAddr> = hosts.iter().map(|host| host.address).collect();
    Balancer::start_temporary(&addresses, &BalancerSettings::default()).await.unwrap()
}

async fn send(address: SocketAddr, method: &str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri("/cart").header("content-type", "application/json");
    Socket(address).call(request.body(Bytes::from_static(br#"{"sku_id":1}"#)).unwrap()).await
}

#[tokio::test]
async fn hosts_take_turns() {
    let hosts = [
        &ScriptedHost::start("first", Act::Answer(200)).await,
        &ScriptedHost::start("second", Act::Answer(200)).await,
        &ScriptedHost::start("third", Act::Answer(200)).await,
    ];
    let balancer = balance(&hosts).await;
    let mut answers = HashMap::new();
    for _ in 0..30 {
        *answers.entry(send(balancer.address(), "GET").await.into_body()).or_insert(0) += 1;
    }
    assert_eq!(answers.len(), 3);
    assert!(answers.values().all(|&count| count == 10), "{answers:?}");
}

/// Both hosts would do so: after the first no other is asked, nor is it asked again.
#[tokio::test]
async fn a_post_is_never_sent_twice() {
    for (act, status) in [(Act::HangUp, 502), (Act::Hang, 504), (Act::Answer(503), 503)] {
        let hosts = [&ScriptedHost::start("first", act).await, &ScriptedHost::start("second", act).await];
        let balancer = balance(&hosts).await;
        let answer = send(balancer.address(), "POST").await;
        assert_eq!(answer.status(), status, "{act:?}");
        assert_eq!(hosts[0].requests().len() + hosts[1].requests().len(), 1, "{act:?}");
        if status != 503 {
            let problem: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(problem["status"], status);
            assert!(
                problem["detail"].as_str().unwrap().contains("A change to a cart may have been carried out")
            );
        }
    }
}

#[tokio::test]
async fn a_delete_goes_to_the_next_host_because_a_second_one_changes_nothing() {
    for act in [Act::HangUp, Act::Hang, Act::Answer(503)] {
        let hosts = [
            &ScriptedHost::start("failing", act).await,
            &ScriptedHost::start("good", Act::Answer(204)).await,
        ];
        let balancer = balance(&hosts).await;
        for _ in 0..2 {
            assert_eq!(send(balancer.address(), "DELETE").await.status(), 204, "{act:?}");
        }
        assert_eq!(hosts[0].requests().len(), 1, "{act:?}");
    }
}

#[tokio::test]
async fn a_post_that_a_host_cannot_have_seen_goes_to_the_next() {
    let alive = ScriptedHost::start("alive", Act::Answer(201)).await;
    let hosts = [free_address().unwrap(), alive.address];
    let balancer = Balancer::start_temporary(&hosts, &BalancerSettings::default()).await.unwrap();
    for sent in 1..=10 {
        assert_eq!(send(balancer.address(), "POST").await.status(), 201);
        assert_eq!(alive.requests().len(), sent);
    }
}

#[tokio::test]
async fn a_get_that_fails_is_answered_by_the_next_host_and_the_one_that_failed_is_left_alone() {
    for act in [Act::HangUp, Act::Hang, Act::Answer(502), Act::Answer(503), Act::Answer(504)] {
        let hosts = [
            &ScriptedHost::start("failing", act).await,
            &ScriptedHost::start("good", Act::Answer(200)).await,
        ];
        let balancer = balance(&hosts).await;
        for _ in 0..10 {
            let answer = send(balancer.address(), "GET").await;
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"good"[..]), "{act:?}");
        }
        let tried = hosts[0].requests().len();
        assert!((1..10).contains(&tried), "{act:?}: the failing one was asked {tried} times of 10");
    }
}

/// A fault that comes with the request would be the next host's too.
#[tokio::test]
async fn a_500_is_passed_on_and_no_other_host_is_asked() {
    let hosts = [
        &ScriptedHost::start("first", Act::Answer(500)).await,
        &ScriptedHost::start("second", Act::Answer(500)).await,
    ];
    let balancer = balance(&hosts).await;
    for sent in 1..=10 {
        assert_eq!(send(balancer.address(), "GET").await.status(), 500);
        assert_eq!(hosts[0].requests().len() + hosts[1].requests().len(), sent);
    }
}

/// As when the database is away: nobody is taken out for long, since the hosts know best what they can still answer.
#[tokio::test]
async fn when_all_hosts_answer_503_clients_read_what_the_hosts_say() {
    let hosts = [
        &ScriptedHost::start("away", Act::Answer(503)).await,
        &ScriptedHost::start("away", Act::Answer(503)).await,
        &ScriptedHost::start("away", Act::Answer(503)).await,
    ];
    let balancer = balance(&hosts).await;
    for number in 0..30 {
        let answer = send(balancer.address(), if number % 2 == 0 { "GET" } else { "POST" }).await;
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (503, &b"away"[..]), "request {number}");
    }
}

/// Three real hosts over the hand-made dataset, whose files are in `directory`.
async fn fleet(directory: &tempfile::TempDir) -> Fleet {
    let mut server = Command::new(program("atelier-host").unwrap());
    server.env("DATABASE_URL", stand::small().await.database.host_url());
    let settings = FleetSettings { log_access: true, ..FleetSettings::default() };
    Fleet::start(directory.path(), free_address().unwrap(), &server, &settings).await.unwrap()
}

/// Asks without a pause while `meanwhile` happens, and for twenty more requests; all must be answered well.
async fn ask_during(address: SocketAddr, meanwhile: impl Future<Output = ()>) {
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (done, asked, expected) = (&done, &asked, &golden("/products/1"));
    let ask = async || {
        let mut left = 20;
        while left > 0 {
            let answer = Socket(address).call(Request::get("/products/1").body(Bytes::new()).unwrap()).await;
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, expected.as_bytes()));
            asked.fetch_add(1, Ordering::Relaxed);
            left -= usize::from(done.load(Ordering::Relaxed));
        }
    };
    let meanwhile = async {
        until("requests are under way", async || asked.load(Ordering::Relaxed) >= 20).await;
        meanwhile.await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(ask(), ask(), ask(), ask(), meanwhile);
}

#[tokio::test]
async fn a_host_that_is_killed_or_stopped_costs_no_get_and_serves_again_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet = fleet(&directory).await;
    let address = fleet.address();
    let host = &mut fleet.hosts_mut()[0];
    ask_during(address, async {
        host.kill().await.unwrap();
        host.start().await.unwrap();
        host.stop().await.unwrap();
        host.start().await.unwrap();
    })
    .await;
    let lines = || std::fs::read_to_string(host.log()).unwrap().matches("/products/{product_id}").count();
    let before = lines();
    until("the host is asked again", async || {
        ask_during(address, async {}).await;
        lines() > before
    })
    .await;
    fleet.stop().await.unwrap();
}

#[tokio::test]
async fn a_host_that_hangs_costs_no_get() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = fleet(&directory).await;
    let host = &fleet.hosts()[1];
    ask_during(fleet.address(), async { host.signal("STOP").unwrap() }).await;
    fleet.stop().await.unwrap();
}
