//! The host's cache: when it serves a response from memory, and when it reads the database again.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rig::{Cluster, Database, Settings};
use support::{TestHost, poll_status, publish, request};

/// Returns the body of a response.
fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

/// Returns whether a response needed no query.
fn from_cache(response: &str) -> bool {
    !response.contains("\r\nserver-timing: ")
}

/// Changes all products of the current catalog without a publish. A host that still serves the old value uses its
/// cache.
async fn overwrite(database: &Database, product: &str) {
    let statement = format!("update catalog.documents set product = '{product}'");
    database.connect().await.unwrap().batch_execute(&statement).await.unwrap();
}

#[tokio::test]
async fn the_first_response_of_a_product_or_page_is_read_and_all_others_are_cached_but_a_404_is_not() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    for (path, is_read) in [
        ("products/1/styles", true),
        ("products/1", false),
        ("products/1/related", false),
        ("products/1/overview", false),
        ("products/2/overview", true),
        ("products/2", false),
        ("products?count=7", true),
    ] {
        let get = format!("GET /{path} HTTP/1.1");
        let (first, second) = (request(host.address, &get).await, request(host.address, &get).await);
        assert_eq!(first.contains("\r\nserver-timing: db;dur="), is_read, "{first}");
        assert!(from_cache(&second), "{second}");
        assert_eq!(body(&first), body(&second));
        assert!(!second.contains("\r\nage: ") && !second.contains("\r\ncache-status: "), "{second}");
    }
    for path in ["products/999999", "products?page=99999"] {
        for _ in 0..2 {
            assert!(!from_cache(&request(host.address, &format!("GET /{path} HTTP/1.1")).await), "{path}");
        }
    }
}

/// Each response carries these bytes, so it has no header that no client needs.
#[tokio::test]
async fn the_response_head_of_styles_has_at_most_370_bytes() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    let get = |coding: &str| format!("GET /products/1/styles HTTP/1.1\r\nhost: x\r\n{coding}\r\n");
    let mut stream = support::send(host.address, &get("")).await;
    for coding in ["", "accept-encoding: gzip\r\nconnection: close\r\n"] {
        tokio::io::AsyncWriteExt::write_all(&mut stream, get(coding).as_bytes()).await.unwrap();
    }
    let mut responses = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut responses).await.unwrap();
    let responses = String::from_utf8_lossy(&responses);
    // The first response comes from the database and has Server-Timing. The last one has `connection: close`.
    let lengths: Vec<usize> = responses
        .split_inclusive("\r\n\r\n")
        .filter(|part| part.contains("HTTP/1.1 200 OK\r\n"))
        .map(|head| head[head.find("HTTP/1.1").unwrap()..].len())
        .collect();
    let [_, plain, gzipped] = lengths[..] else { panic!("{responses}") };
    assert!(plain <= 370 && gzipped - "connection: close\r\n".len() <= 370, "{lengths:?}: {responses}");
}

#[tokio::test]
async fn without_a_cache_every_response_is_read_from_the_database() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[("CACHE_BYTES", "0")]).await;
    for _ in 0..2 {
        let response = request(host.address, "GET /products/1 HTTP/1.1").await;
        assert!(response.contains("\r\nserver-timing: db;dur="), "{response}");
    }
}

#[tokio::test]
async fn a_publish_replaces_cached_responses_and_a_rollback_restores_them() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    overwrite(&database, "one").await;
    let host = TestHost::start(&database, &[]).await;
    let get = "GET /products/1 HTTP/1.1";
    assert_eq!(body(&request(host.address, get).await), "one");
    publish(&database).await;
    let second = support::poll(host.address, get, |response| body(response) != "one").await;
    overwrite(&database, "another").await;
    assert_eq!(body(&request(host.address, get).await), body(&second), "the response is cached");
    etl::load::rollback(&database.config(), || {}).await.unwrap();
    let restored = support::poll(host.address, get, |response| body(response) == "one").await;
    assert!(from_cache(&restored), "{restored}");
    let publications = "select count(*), count(distinct catalog_id) from etl.publication";
    let counts = database.connect().await.unwrap().query_one(publications, &[]).await.unwrap();
    assert_eq!(
        (counts.get::<_, i64>(0), counts.get::<_, i64>(1)),
        (3, 2),
        "the rollback has the first id again"
    );
}

#[tokio::test]
async fn another_catalog_of_the_same_generation_replaces_cached_responses() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    overwrite(&database, "one").await;
    let host = TestHost::start(&database, &[]).await;
    let get = "GET /products/1 HTTP/1.1";
    assert_eq!(body(&request(host.address, get).await), "one");
    // As a database that replaces this one.
    let replaced = "begin; update catalog.documents set product = 'another';
        update etl.publication set catalog_id = catalog_id + 1; commit";
    database.connect().await.unwrap().batch_execute(replaced).await.unwrap();
    support::poll(host.address, get, |response| body(response) == "another").await;
}

#[tokio::test]
async fn while_the_database_is_unavailable_cached_responses_have_an_age_and_others_are_503() {
    // Committed rows must survive the kill.
    let settings = Settings::disposable().and("synchronous_commit", "on");
    let mut cluster = Cluster::start_temporary(&settings).await.unwrap();
    let database = Database::create_in(&cluster).await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    let (cached, uncached) = ("GET /products/1/styles HTTP/1.1", "GET /products/2/styles HTTP/1.1");
    let fresh = request(host.address, cached).await;
    cluster.kill().await.unwrap();

    poll_status(host.address, "GET /readyz HTTP/1.1", " 503 ").await;
    let rejected = request(host.address, uncached).await;
    assert!(
        rejected.starts_with("HTTP/1.1 503 ") && rejected.contains("\r\nretry-after: 1\r\n"),
        "{rejected}"
    );
    let cached_response = request(host.address, cached).await;
    assert!(cached_response.starts_with("HTTP/1.1 200 "), "{cached_response}");
    let stale = support::poll(host.address, cached, |response| response.contains("\r\nage: ")).await;
    assert!(stale.starts_with("HTTP/1.1 200 ") && from_cache(&stale), "{stale}");
    assert!(stale.contains("\r\ncache-status: atelier; hit; ttl=-"), "{stale}");
    assert_eq!(body(&stale), body(&fresh));

    cluster.start_again().await.unwrap();
    poll_status(host.address, "GET /readyz HTTP/1.1", " 200 ").await;
    assert!(request(host.address, uncached).await.starts_with("HTTP/1.1 200 "));
    let fresh_again = support::poll(host.address, cached, |response| !response.contains("\r\nage: ")).await;
    assert_eq!(body(&fresh_again), body(&fresh));
    drop(host);
    cluster.stop().await.unwrap();
}
