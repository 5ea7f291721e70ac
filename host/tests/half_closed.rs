//! Clients that close their side of the connection after their requests, as `nc -N` does.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rig::Database;
use support::{TestHost, publish, read_all, request, send};
use tokio::io::AsyncWriteExt as _;

/// Sends `bytes`, closes the client's side, and returns all that the host sends.
async fn half_close(host: &TestHost, bytes: &str) -> String {
    let mut stream = send(host.address, bytes).await;
    stream.shutdown().await.unwrap();
    read_all(stream).await
}

#[tokio::test]
async fn a_client_that_sends_no_more_still_gets_its_responses() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    let json = "host: x\r\nauthorization: me\r\ncontent-type: application/json\r\n";
    let body = r#"{"sku_id":1}"#;
    let post = format!("POST /cart HTTP/1.1\r\n{json}content-length: {}\r\n\r\n{body}", body.len());
    let malformed = "GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
    for (requests, expected) in [
        (get("/healthz"), vec!["200"]),
        (get("/products/1"), vec!["200"]), // from the database
        (get("/products/1"), vec!["200"]), // from the cache
        (get("/products/1?\""), vec!["200"]),
        (malformed, vec!["400"]),
        (post.clone(), vec!["201"]),
        (post.clone() + &get("/products/2") + &get("/x"), vec!["201", "200", "404"]),
        (post.replace(body, ""), vec!["400"]), // the body ends early
        ("GET /healthz HTTP/1.1\r\n".to_owned(), vec![]),
        (String::new(), vec![]),
    ] {
        let responses = half_close(&host, &requests).await;
        let statuses = responses.split("HTTP/1.1 ").skip(1).filter_map(|response| response.get(..3));
        assert_eq!(statuses.collect::<Vec<_>>(), expected, "{requests:?}: {responses}");
    }
    let cart = request(host.address, "GET /cart HTTP/1.1\r\nauthorization: me").await;
    assert!(cart.ends_with(r#"[{"sku_id":1,"count":2}]"#), "{cart}");
}

/// The host cannot know whether such a client has left.
#[tokio::test]
async fn the_slow_request_of_a_client_that_may_have_left_is_abandoned_long_before_its_timeout() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let variables = [("REQUEST_TIMEOUT", "60s"), ("DATABASE_STATEMENT_TIMEOUT", "60s")];
    let host = TestHost::start(&database, &variables).await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let response = half_close(&host, "GET /products/1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(response, "");
}
