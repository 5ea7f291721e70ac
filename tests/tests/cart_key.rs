//! Carts of a service that gets a key: hosts with and without `CART_KEY` over one database. The suite runs on a host with a
//! key, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use conformance::{Transport as _, get_with, small_dataset};
use futures_util::future::join_all;
use http::{Method, Request};
use support::load;
use support::serving::{Socket, serve, serve_with};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

const KEY: [(&str, &str); 1] = [("CART_KEY", "0f1e2d3c4b5a69788796a5b4c3d2e1f0")];

/// A host with a key, for the suite.
async fn host_with_key() -> Socket {
    static HOST: OnceCell<Socket> = OnceCell::const_new();
    let start = async || serve_with(&support::small().await.database, &KEY).await;
    *HOST.get_or_init(start).await
}

conformance::suite!(host_with_key);

/// A host without a key and one with it, and a connection to their database.
async fn both_hosts() -> (Socket, Socket, Client) {
    let database = load(small_dataset()).await.database;
    let client = database.connect().await.unwrap();
    (serve(&database).await, serve_with(&database, &KEY).await, client)
}

/// Sends a change of a cart, and returns the status and the cookie that the response sets.
async fn change(
    host: &Socket,
    method: Method,
    path: &str,
    identity: (&str, &str),
    body: &str,
) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.header(identity.0, identity.1).body(body.to_owned().into()).unwrap();
    let response = host.call(request).await;
    let set = response
        .headers()
        .get("set-cookie")
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
    (response.status().as_u16(), set.unwrap_or_default().to_owned())
}

async fn add(host: &Socket, identity: (&str, &str), sku_id: i32) -> String {
    let (status, cookie) =
        change(host, Method::POST, "/cart", identity, &format!(r#"{{"sku_id":{sku_id}}}"#)).await;
    assert_eq!(status, 201);
    cookie
}

/// Returns the skus and counts of a cart.
async fn cart(host: &Socket, identity: (&str, &str)) -> String {
    let lines = get_with(host, "/cart", &[identity]).await.text();
    lines.replace("\"sku_id\":", "").replace(",\"count\":", "*")
}

async fn carts(client: &Client) -> i64 {
    client.query_one("select count(*) from cart.carts", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn with_a_key_the_cart_of_an_authorization_text_is_found_and_moved_and_its_text_cannot_be_guessed() {
    let (without, with, client) = both_hosts().await;
    let me = ("authorization", "Basic dXNlcjpwYXNzd29yZA==");
    add(&without, me, 3).await;
    add(&without, me, 1).await;
    let guesses = "select count(*) from cart.carts where owner = sha256('authorization\\000Basic dXNlcjpwYXNzd29yZA==')";
    let guessed = async || client.query_one(guesses, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!((cart(&with, me).await.as_str(), guessed().await), ("[{3*1},{1*1}]", 1));
    add(&with, me, 2).await;
    assert_eq!((cart(&with, me).await.as_str(), guessed().await), ("[{3*1},{1*1},{2*1}]", 0));
    let once = "select count(*) from cart.carts where touched_at = created_at";
    let once: i64 = client.query_one(once, &[]).await.unwrap().get(0);
    assert_eq!(once, 0, "prune would soon delete the moved cart");

    // While hosts without the key are running, a client may have two carts. None loses a line.
    add(&without, me, 1).await;
    add(&without, me, 16).await;
    assert_eq!(cart(&with, me).await, "[{3*1},{1*2},{2*1},{16*1}]");
    let (status, _) = change(&with, Method::DELETE, "/cart/1", me, "").await;
    assert_eq!((status, cart(&with, me).await.as_str()), (204, "[{3*1},{2*1},{16*1}]"));
    add(&without, me, 3).await;
    join_all((0..20).map(|_| add(&with, me, 3))).await;
    assert_eq!((cart(&with, me).await.as_str(), carts(&client).await), ("[{3*22},{2*1},{16*1}]", 1));
    add(&without, me, 3).await;
    let (status, _) = change(&with, Method::DELETE, "/cart", me, "").await;
    assert_eq!((status, cart(&with, me).await.as_str(), carts(&client).await), (204, "[]", 0));
}

#[tokio::test]
async fn only_the_carts_of_cookies_are_carts_of_sessions() {
    let (without, with, client) = both_hosts().await;
    let sessions = "select count(*) from cart.carts where is_session";
    let sessions = async || client.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0);
    for (nth, host) in [(0, without), (1, with)] {
        let identity = format!("Bearer {nth}");
        for _ in 0..2 {
            add(&host, ("authorization", &identity), 1).await;
        }
        assert_eq!((sessions().await, carts(&client).await), (nth, 2 * nth + 1));
        let cookie = add(&host, ("cookie", "none=1"), 1).await;
        add(&host, ("cookie", &cookie), 1).await;
        add(&host, ("authorization", &identity), 1).await;
        assert_eq!((sessions().await, carts(&client).await), (nth + 1, 2 * nth + 2));
    }
}

#[tokio::test]
async fn with_a_key_a_cookie_that_the_service_did_not_issue_creates_no_cart() {
    let (_, with, client) = both_hosts().await;
    let chosen = ("cookie", "atelier_session=0123456789abcdef0123456789abcdef");
    let issued = add(&with, chosen, 1).await;
    assert!(!issued.is_empty() && !issued.contains("0123456789abcdef0123456789abcdef"), "{issued}");
    assert_eq!(cart(&with, chosen).await, "[]");
    assert_eq!((cart(&with, ("cookie", &issued)).await.as_str(), carts(&client).await), ("[{1*1}]", 1));
    for (method, path) in [(Method::DELETE, "/cart/1"), (Method::DELETE, "/cart")] {
        assert_eq!(change(&with, method, path, chosen, "").await, (204, String::new()));
    }
    assert_eq!(cart(&with, ("cookie", &issued)).await, "[{1*1}]");
}

#[tokio::test]
async fn concurrent_additions_right_after_a_cart_was_emptied_share_one_cart() {
    let (_, with, client) = both_hosts().await;
    let issued = add(&with, ("cookie", "none=1"), 1).await;
    let me = ("cookie", issued.as_str());
    assert_eq!(change(&with, Method::DELETE, "/cart", me, "").await.0, 204);
    assert_eq!(carts(&client).await, 0);
    let cookies = join_all([1, 2, 3, 16].map(|sku_id| add(&with, me, sku_id))).await;
    assert_eq!(cookies.concat(), "");
    let lines = cart(&with, me).await;
    assert!([1, 2, 3, 16].iter().all(|sku_id| lines.contains(&format!("{{{sku_id}*1}}"))), "{lines}");
    assert_eq!(carts(&client).await, 1);
}

#[tokio::test]
async fn a_cookie_from_before_the_key_keeps_its_cart_and_is_issued_again_with_a_mac() {
    let (without, with, client) = both_hosts().await;
    let former = add(&without, ("cookie", "none=1"), 1).await;
    let former = ("cookie", former.as_str());
    assert_eq!(cart(&with, former).await, "[{1*1}]");
    let cookies = join_all([2, 2, 2].map(|sku_id| add(&with, former, sku_id))).await;
    for issued in &cookies {
        assert!(issued.len() > former.1.len() && issued.starts_with(former.1), "{issued}");
        assert_eq!(cart(&with, ("cookie", issued)).await, "[{1*1},{2*3}]");
    }
    assert_eq!(add(&with, ("cookie", &cookies[0]), 3).await, "");
    assert_eq!(
        (cart(&without, ("cookie", &cookies[0])).await.as_str(), carts(&client).await),
        ("[{1*1},{2*3},{3*1}]", 1)
    );
}
