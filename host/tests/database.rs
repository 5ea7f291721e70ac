//! The host's connections to the database: published catalogs, lost connections and timeouts.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rig::Database;
use support::{CATALOG_CONNECTIONS, TestHost, poll_row, poll_status, publish, request, until_connected};

#[tokio::test]
async fn the_host_is_ready_once_a_catalog_is_published() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[]).await;
    let before = request(host.address, "GET /readyz HTTP/1.1").await;
    assert!(before.starts_with("HTTP/1.1 503 ") && before.contains("\r\nretry-after: 1\r\n"), "{before}");
    assert!(before.contains("No catalog has been published yet."), "{before}");
    assert!(request(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    let product = request(host.address, "GET /products/1 HTTP/1.1").await;
    assert!(product.starts_with("HTTP/1.1 503 ") && product.contains("No catalog has been published yet."));

    publish(&database).await;
    let after = request(host.address, "GET /readyz HTTP/1.1").await;
    assert!(after.ends_with(r#"{"status":"ready","generation":1}"#), "{after}");
    assert!(request(host.address, "GET /products/1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_host_keeps_serving_when_a_new_catalog_is_published() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[("DATABASE_CONNECTIONS", "1"), ("CACHE_BYTES", "0")]).await;
    assert!(request(host.address, "GET /products/1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    let client = database.connect().await.unwrap();
    client.batch_execute("update catalog.documents set product = 'old' where product_id = 1").await.unwrap();
    assert!(request(host.address, "GET /products/1 HTTP/1.1").await.ends_with("old"));
    publish(&database).await; // statements prepared for the old tables now read the new ones
    assert!(!request(host.address, "GET /products/1 HTTP/1.1").await.ends_with("old"));
}

#[tokio::test]
async fn a_database_connection_that_stops_responding_is_abandoned() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let variables =
        [("DATABASE_CONNECTIONS", "2"), ("DATABASE_STATEMENT_TIMEOUT", "300ms"), ("CACHE_BYTES", "0")];
    let host = TestHost::start(&database, &variables).await;
    let client = database.connect().await.unwrap();
    until_connected(&client, 2).await;
    let select = format!("select pid from {CATALOG_CONNECTIONS}");
    let backend: i32 = client.query(&select, &[]).await.unwrap()[0].get(0);
    let signal = |name: &str| local::signal(backend.try_into().unwrap(), name).unwrap();
    signal("STOP");
    let mut responses = Vec::new();
    for _ in 0..20 {
        responses.push(request(host.address, "GET /products/1/styles HTTP/1.1").await);
    }
    signal("CONT");
    // The host retries a read from the stalled connection on the other one.
    assert!(responses.iter().all(|response| response.starts_with("HTTP/1.1 200 ")), "{responses:?}");
}

#[tokio::test]
async fn the_host_reconnects_a_lost_database_connection() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    poll_status(host.address, "GET /readyz HTTP/1.1", " 200 ").await;
    let client = database.connect().await.unwrap();
    let ended = client
        .query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where usename = 'atelier_host' and datname = current_database()",
            &[],
        )
        .await
        .unwrap();
    assert!(!ended.is_empty());
    poll_status(host.address, "GET /products/1 HTTP/1.1", " 200 ").await;
}

#[tokio::test]
async fn reads_in_flight_on_a_lost_database_connection_are_retried_on_another() {
    const CLIENTS: i32 = 8;
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let variables = [
        ("DATABASE_CONNECTIONS", "2"),
        ("DATABASE_STATEMENT_TIMEOUT", "30s"),
        ("REQUEST_TIMEOUT", "60s"),
        ("CACHE_BYTES", "0"), // otherwise most requests would need no connection
    ];
    let host = TestHost::start(&database, &variables).await;
    let address = host.address;
    let mut client = database.connect().await.unwrap();
    until_connected(&client, 2).await;
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|product_id| {
            tokio::spawn(async move {
                for _ in 0..20 {
                    let response =
                        request(address, &format!("GET /products/{product_id}/styles HTTP/1.1")).await;
                    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
                }
            })
        })
        .collect();
    let terminate_one_that_waits = format!(
        "select pg_terminate_backend(pid) from {CATALOG_CONNECTIONS} and wait_event_type = 'Lock' limit 1"
    );
    poll_row(&database.connect().await.unwrap(), &terminate_one_that_waits).await;
    lock.rollback().await.unwrap();
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_exceeds_its_timeout_returns_503() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[("DATABASE_STATEMENT_TIMEOUT", "50ms")]).await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let response = request(host.address, "GET /products/1 HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("The database took too long to answer."), "{response}");
    lock.rollback().await.unwrap();
    assert!(request(host.address, "GET /products/1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}
