//! What the host keeps in memory: when that is answered, and when no longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use local::testing::Database;
use local::{Cluster, Settings};
use stand::{Served, ask, publish, until};

/// What comes after the head.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Whether the host waited for no database.
fn from_memory(answer: &str) -> bool {
    !answer.contains("\r\nserver-timing: ")
}

/// Makes the name of all products of the catalog that is served something else, behind everybody's back: who answers
/// the old one has not looked.
async fn overwrite(database: &Database, product: &str) {
    let statement = format!("update catalog.documents set product = '{product}'");
    database.connect().await.unwrap().batch_execute(&statement).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_was_read_is_answered_from_memory_and_one_that_does_not_exist_is_not() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[]).await;
    for path in
        ["products/1", "products/1/styles", "products/1/related", "products/1/overview", "products?count=7"]
    {
        let get = format!("GET /{path} HTTP/1.1");
        let (first, second) = (ask(host.address, &get).await, ask(host.address, &get).await);
        assert!(first.contains("\r\nserver-timing: db;dur="), "{first}");
        assert!(from_memory(&second), "{second}");
        assert_eq!(body(&first), body(&second));
        assert!(!second.contains("\r\nage: ") && !second.contains("\r\ncache-status: "), "{second}");
    }
    for path in ["products/999999", "products?page=99999"] {
        for _ in 0..2 {
            assert!(!from_memory(&ask(host.address, &format!("GET /{path} HTTP/1.1")).await), "{path}");
        }
    }
}

/// A head is bytes on the wire for every request: no header is in it that nobody reads.
#[tokio::test]
async fn the_head_of_styles_has_at_most_370_bytes() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[]).await;
    let get = |coding: &str| format!("GET /products/1/styles HTTP/1.1\r\nhost: x\r\n{coding}\r\n");
    let mut stream = stand::begin(host.address, &get("")).await;
    for coding in ["", "accept-encoding: gzip\r\nconnection: close\r\n"] {
        tokio::io::AsyncWriteExt::write_all(&mut stream, get(coding).as_bytes()).await.unwrap();
    }
    let mut answers = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answers).await.unwrap();
    let answers = String::from_utf8_lossy(&answers);
    // The first was read from the database, and says how long that took; the last says that it is the last.
    let lengths: Vec<usize> = answers
        .split_inclusive("\r\n\r\n")
        .filter(|part| part.contains("HTTP/1.1 200 OK\r\n"))
        .map(|head| head[head.find("HTTP/1.1").unwrap()..].len())
        .collect();
    let [_, plain, gzipped] = lengths[..] else { panic!("{answers}") };
    assert!(plain <= 370 && gzipped - "connection: close\r\n".len() <= 370, "{lengths:?}: {answers}");
}

#[tokio::test]
async fn without_memory_every_answer_is_read() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[("CACHE_BYTES", "0")]).await;
    for _ in 0..2 {
        let answer = ask(host.address, "GET /products/1 HTTP/1.1").await;
        assert!(answer.contains("\r\nserver-timing: db;dur="), "{answer}");
    }
}

#[tokio::test]
async fn another_catalog_takes_the_place_of_what_is_in_memory_and_a_rollback_brings_that_back() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    overwrite(&database, "one").await;
    let host = Served::start(&database, &[]).await;
    let get = "GET /products/1 HTTP/1.1";
    assert_eq!(body(&ask(host.address, get).await), "one");
    publish(&database).await;
    let second = stand::until_answer(host.address, get, |answer| body(answer) != "one").await;
    overwrite(&database, "another").await;
    assert_eq!(body(&ask(host.address, get).await), body(&second), "it is in memory");
    etl::load::rollback(&database.config(), || {}).await.unwrap();
    let back = stand::until_answer(host.address, get, |answer| body(answer) == "one").await;
    assert!(from_memory(&back), "{back}");
}

#[tokio::test]
async fn while_the_database_is_away_what_is_in_memory_is_answered_with_its_age_and_the_rest_503() {
    // What was committed has to be there still after the kill.
    let settings = Settings::disposable().and("synchronous_commit", "on");
    let mut cluster = Cluster::start_temporary(&settings).await.unwrap();
    let database = Database::create_in(&cluster).await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[]).await;
    let (kept, other) = ("GET /products/1/styles HTTP/1.1", "GET /products/2/styles HTTP/1.1");
    let fresh = ask(host.address, kept).await;
    cluster.kill().await.unwrap();

    until(host.address, "GET /readyz HTTP/1.1", " 503 ").await;
    let refused = ask(host.address, other).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    let at_once = ask(host.address, kept).await;
    assert!(at_once.starts_with("HTTP/1.1 200 "), "{at_once}");
    let old = stand::until_answer(host.address, kept, |answer| answer.contains("\r\nage: ")).await;
    assert!(old.starts_with("HTTP/1.1 200 ") && from_memory(&old), "{old}");
    assert!(old.contains("\r\ncache-status: atelier; hit; ttl=-"), "{old}");
    assert_eq!(body(&old), body(&fresh));

    cluster.start_again().await.unwrap();
    until(host.address, "GET /readyz HTTP/1.1", " 200 ").await;
    assert!(ask(host.address, other).await.starts_with("HTTP/1.1 200 "));
    let again = stand::until_answer(host.address, kept, |answer| !answer.contains("\r\nage: ")).await;
    assert_eq!(body(&again), body(&fresh));
    drop(host);
    cluster.stop().await.unwrap();
}
