//! Connections that die unnoticed, as they do while a function is frozen, and graceful shutdown.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use rig::{Database, Proxy, TEST_TIMEOUT, until};
use shared::cart::{Change, Line, Owner};
use shared::database::{Connections, Kind};
use shared::{App, Readiness};
use support::{app, function, proxy_to};

/// The message of a probe.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// The message that closes a connection gracefully.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

const BACKENDS: &str =
    "from pg_stat_activity where usename = 'atelier_host' and datname = current_database()";

async fn count(client: &tokio_postgres::Client, from: &str) -> i64 {
    client.query_one(&format!("select count(*) {from}"), &[]).await.unwrap().get(0)
}

fn owner(app: &App) -> Owner {
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer one".parse().unwrap())]);
    app.carts.owner(&headers).unwrap()
}

/// A database whose catalog has one sku, number 1.
async fn database_with_a_sku() -> Database {
    let database = Database::create().await.unwrap();
    let statement = "create schema catalog; create table catalog.skus as select 1 as id; \
                     grant usage on schema catalog to atelier_cart; grant select on catalog.skus to atelier_cart";
    database.connect().await.unwrap().batch_execute(statement).await.unwrap();
    database
}

/// Lets connections be idle for longer than 10 ms, after which the tests have them probed.
async fn let_idle() {
    tokio::time::sleep(Duration::from_millis(11)).await;
}

/// Connects, then makes the connection a black hole and lets it be idle.
async fn lose_connection(proxy: &Proxy, app: &App) {
    assert_eq!(app.readiness().await.unwrap(), Readiness::NoCatalog);
    proxy.stall();
    let_idle().await;
}

#[tokio::test]
async fn a_request_before_the_first_connection_waits_for_it() {
    let database = Database::create().await.unwrap();
    let app = app(&[("DATABASE_URL", &database.host_url())]);
    assert_eq!(app.readiness().await.unwrap(), Readiness::NoCatalog);
}

#[tokio::test]
async fn a_request_long_after_the_start_uses_the_connection_that_was_opened_then() {
    let database = Database::create().await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&[("DATABASE_URL", &url)]);
    tokio::time::sleep(Duration::from_millis(1100)).await; // an attempt that takes a second would be repeated
    assert_eq!(app.readiness().await.unwrap(), Readiness::NoCatalog);
    assert_eq!(proxy.traffic(|traffic| traffic.connections), 1);
}

#[tokio::test]
async fn without_a_database_a_request_fails_as_unreachable() {
    let nowhere = tempfile::tempdir().unwrap();
    let url = format!("host={} user=nobody", nowhere.path().display());
    let mut function = function(&[("DATABASE_URL", &url)]);
    // A function stops waiting when an attempt fails, even before its limit. The host does not wait.
    for wait in [Duration::from_secs(86_400), Duration::ZERO] {
        function.database.connections = Connections::Single { connect_wait: wait };
        let app = App::start(&function.database, &function.requests);
        let readiness = tokio::time::timeout(TEST_TIMEOUT, app.readiness()).await.unwrap();
        assert_eq!(readiness.unwrap_err().kind(), Kind::Unreachable);
    }
}

#[tokio::test]
async fn a_read_after_the_end_of_the_backend_succeeds() {
    let database = Database::create().await.unwrap();
    let app = app(&[("DATABASE_URL", &database.host_url())]);
    let client = database.connect().await.unwrap();
    for _ in 0..5 {
        app.readiness().await.unwrap();
        until("the backends of before have exited", async || count(&client, BACKENDS).await == 1).await;
        let ended = client.query(&format!("select pg_terminate_backend(pid) {BACKENDS}"), &[]).await.unwrap();
        assert_eq!(ended.len(), 1);
        app.readiness().await.unwrap();
    }
}

#[tokio::test]
async fn reads_on_a_dead_connection_share_one_probe_and_succeed_on_another_connection() {
    let database = Database::create().await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&[("DATABASE_URL", &url), ("DATABASE_IDLE_CHECK_AFTER", "10ms")]);
    lose_connection(&proxy, &app).await;
    for readiness in join_all((0..8).map(|_| app.readiness())).await {
        assert_eq!(readiness.unwrap(), Readiness::NoCatalog);
    }
    assert_eq!(proxy.traffic(|traffic| traffic.held.clone()), SYNC);
    assert_eq!(proxy.traffic(|traffic| traffic.connections), 2);
}

#[tokio::test]
async fn a_write_is_not_sent_on_a_dead_connection_and_is_carried_out_once() {
    let database = database_with_a_sku().await;
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&[("DATABASE_URL", &url), ("DATABASE_IDLE_CHECK_AFTER", "10ms")]);
    assert_eq!(app.carts.add(&owner(&app), 1, 1).await.unwrap(), Change::Made); // prepares the statement
    lose_connection(&proxy, &app).await;
    assert_eq!(app.carts.add(&owner(&app), 1, 2).await.unwrap(), Change::Made);
    assert_eq!(app.carts.lines(&owner(&app)).await.unwrap(), [Line { sku_id: 1, count: 3 }]);
    assert_eq!(proxy.traffic(|traffic| traffic.held.clone()), SYNC);
}

#[tokio::test]
async fn a_write_whose_preparation_times_out_is_sent_on_another_connection() {
    let database = database_with_a_sku().await;
    let (proxy, url) = proxy_to(&database).await;
    // No probe is due, so the preparation of the statement is lost.
    let variables = [("DATABASE_IDLE_CHECK_AFTER", "600s"), ("DATABASE_STATEMENT_TIMEOUT", "100ms")];
    let app = app(&[&variables[..], &[("DATABASE_URL", &url)]].concat());
    lose_connection(&proxy, &app).await;
    assert_eq!(app.carts.add(&owner(&app), 1, 1).await.unwrap(), Change::Made);
    assert_eq!(app.carts.lines(&owner(&app)).await.unwrap(), [Line { sku_id: 1, count: 1 }]);
    assert!(proxy.traffic(|traffic| String::from_utf8_lossy(&traffic.held).contains("select cart.add")));
}

#[tokio::test]
async fn a_connection_with_a_slow_statement_is_not_marked_dead() {
    let database = Database::create().await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let variables = [("DATABASE_IDLE_CHECK_AFTER", "10ms"), ("DATABASE_STATEMENT_TIMEOUT", "30s")];
    let app = app(&[&variables[..], &[("DATABASE_URL", &url)]].concat());
    app.readiness().await.unwrap();
    let (mut locking, client) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table etl.publication").await.unwrap();

    let (slow, owner) = (app.readiness(), owner(&app));
    let behind_it = async {
        until("a read waits for the lock", async || {
            count(&client, &format!("{BACKENDS} and wait_event_type = 'Lock'")).await == 1
        })
        .await;
        let_idle().await;
        let unlock = async {
            until("a second statement is sent", async || {
                proxy.traffic(|traffic| {
                    String::from_utf8_lossy(&traffic.forwarded).contains("from cart.carts")
                })
            })
            .await;
            lock.rollback().await.unwrap();
        };
        tokio::join!(app.carts.lines(&owner), unlock).0
    };
    let (slow, behind_it) = tokio::join!(slow, behind_it);
    assert_eq!(slow.unwrap(), Readiness::NoCatalog);
    assert_eq!(behind_it.unwrap(), []);
    assert_eq!(proxy.traffic(|traffic| traffic.connections), 1);
}

#[tokio::test]
async fn close_terminates_the_connection_gracefully_and_leaves_no_backend() {
    let database = Database::create().await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&[("DATABASE_URL", &url)]);
    app.readiness().await.unwrap();
    app.close().await;
    until("the connection is closed gracefully", async || {
        proxy.traffic(|traffic| traffic.forwarded.ends_with(TERMINATE))
    })
    .await;
    let client = database.connect().await.unwrap();
    until("the backend is gone", async || count(&client, BACKENDS).await == 0).await;
    assert_eq!(app.readiness().await.unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(proxy.traffic(|traffic| traffic.connections), 1);
}

#[tokio::test]
async fn close_does_not_wait_for_a_server_that_stopped_responding_and_fails_waiting_requests() {
    let database = Database::create().await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&[("DATABASE_URL", &url), ("DATABASE_STATEMENT_TIMEOUT", "30s")]);
    app.readiness().await.unwrap();
    proxy.stall();
    let closing = async {
        until("a read is dropped", async || proxy.traffic(|traffic| !traffic.held.is_empty())).await;
        app.close().await;
    };
    let both = async { tokio::join!(app.readiness(), closing).0 };
    let readiness = tokio::time::timeout(TEST_TIMEOUT / 3, both).await.unwrap();
    assert_eq!(readiness.unwrap_err().kind(), Kind::Unreachable);
}
