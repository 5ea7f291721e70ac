//! Checks of cart identities and cart contents.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;

use crate::{CheckedResponse, Transport, get, get_with, send};

/// Returns an identity that no other check uses, because checks share one database and run concurrently.
pub(crate) fn new_identity() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("Bearer {}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn post(service: &impl Transport, headers: &[(&str, &str)], body: impl Into<Bytes>) -> CheckedResponse {
    let mut request = Request::post("/cart");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(service, request.body(body.into()).unwrap()).await
}

/// Adds to the cart of an identity.
pub(crate) async fn add(service: &impl Transport, identity: &str, body: &str) -> CheckedResponse {
    post(service, &[("authorization", identity), ("content-type", "application/json")], body.to_owned()).await
}

/// Deletes with these headers.
async fn delete(service: &impl Transport, path: &str, headers: &[(&str, &str)]) -> CheckedResponse {
    let mut request = Request::delete(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = send(service, request.body(Bytes::new()).unwrap()).await;
    assert_eq!((response.status.as_u16(), response.body.len()), (204, 0), "{path}: {response:?}");
    assert_eq!((response.header("content-type"), response.header("set-cookie")), ("", ""), "{path}");
    assert_eq!(response.header("cache-control"), "no-store", "{path}");
    response
}

pub(crate) async fn cart_of(service: &impl Transport, identity: &str) -> String {
    get_with(service, "/cart", &[("authorization", identity)]).await.text()
}

/// A GET never issues a cookie.
pub async fn a_cart_without_an_identity_is_empty(service: &impl Transport) {
    let response = get(service, "/cart").await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (200, "[]"));
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(response.header("set-cookie"), "");
}

/// The cookie alone identifies the cart, and another cookie identifies another cart.
pub async fn the_first_post_issues_a_cookie_that_identifies_the_cart(service: &impl Transport) {
    let json = ("content-type", "application/json");
    let response = post(service, &[json], r#"{"sku_id":1}"#).await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (201, "Created"));
    assert!(response.header("content-type").starts_with("text/plain"));

    let issued = response.header("set-cookie");
    let attributes: Vec<String> = issued.split(';').skip(1).map(|a| a.trim().to_lowercase()).collect();
    assert!(attributes.contains(&"httponly".to_owned()), "{issued}");
    assert!(attributes.contains(&"samesite=lax".to_owned()), "{issued}");
    let cookie = issued.split(';').next().unwrap();
    let name = cookie.split('=').next().unwrap();
    let expected =
        if attributes.contains(&"secure".to_owned()) { "__Host-atelier_session" } else { "atelier_session" };
    assert!(name == expected && attributes.contains(&"path=/".to_owned()), "{issued}");
    assert!(cookie.len() >= "atelier_session=".len() + 22, "fewer than 128 bits: {issued}");

    let again = post(service, &[json, ("cookie", cookie)], r#"{"sku_id":2}"#).await;
    assert_eq!((again.status.as_u16(), again.header("set-cookie")), (201, ""));
    let among_others = format!("theme=dark; {cookie}; lang=de");
    for cookies in [cookie, &among_others] {
        let seen = get_with(service, "/cart", &[("cookie", cookies)]).await;
        assert_eq!(seen.text(), r#"[{"sku_id":1,"count":1},{"sku_id":2,"count":1}]"#);
    }
    let other = post(service, &[json], r#"{"sku_id":1}"#).await;
    assert_ne!(other.header("set-cookie").split(';').next(), Some(cookie));
}

/// A request with both uses the identity of the header, and gets no cookie.
pub async fn authorization_takes_precedence_over_the_cookie(service: &impl Transport) {
    let json = ("content-type", "application/json");
    let issued = post(service, &[json], r#"{"sku_id":1}"#).await;
    let cookie = issued.header("set-cookie").split(';').next().unwrap().to_owned();
    let identity = new_identity();
    let both = [json, ("cookie", cookie.as_str()), ("authorization", identity.as_str())];
    let response = post(service, &both, r#"{"sku_id":3}"#).await;
    assert_eq!((response.status.as_u16(), response.header("set-cookie")), (201, ""));
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":3,"count":1}]"#);
    let by_cookie = get_with(service, "/cart", &[("cookie", &cookie)]).await;
    assert_eq!(by_cookie.text(), r#"[{"sku_id":1,"count":1}]"#);
    let other = new_identity();
    assert_eq!(cart_of(service, &other).await, "[]");
}

/// Adding a SKU again increases its count and keeps its position.
pub async fn a_cart_lists_skus_in_order_of_first_adding_and_adds_up(service: &impl Transport) {
    let identity = new_identity();
    for body in [
        r#"{"sku_id":16}"#,
        r#"{"sku_id":3,"count":1}"#,
        r#" { "count" : 99 , "sku_id" : 16 } "#,
        r#"{"sku_id":1,"count":7,"colour":"red"}"#,
        r#"{"sku_id":3}"#,
    ] {
        let response = add(service, &identity, body).await;
        assert_eq!((response.status.as_u16(), response.text().as_str()), (201, "Created"), "{body}");
    }
    let expected = r#"[{"sku_id":16,"count":100},{"sku_id":3,"count":2},{"sku_id":1,"count":7}]"#;
    assert_eq!(cart_of(service, &identity).await, expected);
}

/// Concurrent requests add up to the sum of their counts.
pub async fn concurrent_posts_lose_nothing(service: &impl Transport) {
    let identity = new_identity();
    let both = |_| async {
        let (one, two) = (
            add(service, &identity, r#"{"sku_id":1}"#),
            add(service, &identity, r#"{"sku_id":2,"count":3}"#),
        );
        let (one, two) = futures_util::future::join(one, two).await;
        assert_eq!((one.status.as_u16(), two.status.as_u16()), (201, 201));
    };
    join_all((0..24).map(both)).await;
    let cart = cart_of(service, &identity).await;
    let (one, two) = (r#"{"sku_id":1,"count":24}"#, r#"{"sku_id":2,"count":72}"#);
    assert!(cart == format!("[{one},{two}]") || cart == format!("[{two},{one}]"), "{cart}");
}

/// A further unit is rejected and changes nothing. Other SKUs are unaffected.
pub async fn a_line_holds_at_most_9_999_of_a_sku(service: &impl Transport) {
    let identity = new_identity();
    for _ in 0..101 {
        assert_eq!(add(service, &identity, r#"{"sku_id":4,"count":99}"#).await.status, 201);
    }
    assert_eq!(add(service, &identity, r#"{"sku_id":4}"#).await.status, 422);
    assert_eq!(add(service, &identity, r#"{"sku_id":1}"#).await.status, 201);
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":4,"count":9999},{"sku_id":1,"count":1}]"#);
}

/// Front ends send such bodies: the keys of `skus` are strings, and a number that JavaScript has divided may have a
/// fraction of 0.
pub async fn numbers_may_be_strings_and_a_count_of_null_is_one(service: &impl Transport) {
    let identity = new_identity();
    for body in [
        r#"{"sku_id":"1"}"#,
        r#"{"sku_id":1.0}"#,
        r#"{"sku_id":"1","count":"2"}"#,
        r#"{"sku_id":1,"count":null}"#,
        r#"{"sku_id":1,"count":3.0}"#,
        r#"{"count":"99","sku_id":"2"}"#,
        r#"{"sku_id":5,"sku_id":2,"other":1e999,"x":[{}]}"#,
    ] {
        let response = add(service, &identity, body).await;
        assert_eq!((response.status.as_u16(), response.text().as_str()), (201, "Created"), "{body}");
    }
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":1,"count":8},{"sku_id":2,"count":100}]"#);
}

/// A DELETE succeeds whether or not the SKU is in the cart, and with a trailing slash. A SKU that is added again moves
/// to the end.
pub async fn deleting_a_line_leaves_the_others(service: &impl Transport) {
    let identity = new_identity();
    for sku_id in [1, 2, 3] {
        assert_eq!(add(service, &identity, &format!(r#"{{"sku_id":{sku_id},"count":2}}"#)).await.status, 201);
    }
    let me = [("authorization", identity.as_str())];
    for path in ["/cart/2", "/cart/2", "/cart/5", "/cart/2147483647"] {
        delete(service, path, &me).await;
        assert_eq!(
            cart_of(service, &identity).await,
            r#"[{"sku_id":1,"count":2},{"sku_id":3,"count":2}]"#,
            "{path}"
        );
    }
    delete(service, "/cart/1/", &me).await;
    assert_eq!(add(service, &identity, r#"{"sku_id":1}"#).await.status, 201);
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":3,"count":2},{"sku_id":1,"count":1}]"#);
}

/// The cart belongs to the caller, identified by `Authorization` or by cookie. It can be filled again.
pub async fn deleting_a_cart_empties_only_that_cart(service: &impl Transport) {
    let (identity, other) = (new_identity(), new_identity());
    for owner in [&identity, &other] {
        assert_eq!(add(service, owner, r#"{"sku_id":1}"#).await.status, 201);
    }
    for path in ["/cart", "/cart/", "/cart"] {
        delete(service, path, &[("authorization", &identity)]).await;
        assert_eq!(cart_of(service, &identity).await, "[]");
    }
    assert_eq!(cart_of(service, &other).await, r#"[{"sku_id":1,"count":1}]"#);
    assert_eq!(add(service, &identity, r#"{"sku_id":2}"#).await.status, 201);
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":2,"count":1}]"#);

    let issued = post(service, &[("content-type", "application/json")], r#"{"sku_id":1}"#).await;
    let cookie = issued.header("set-cookie").split(';').next().unwrap().to_owned();
    let by_cookie = [("cookie", cookie.as_str())];
    delete(service, "/cart/2", &by_cookie).await;
    assert_eq!(get_with(service, "/cart", &by_cookie).await.text(), r#"[{"sku_id":1,"count":1}]"#);
    delete(service, "/cart", &by_cookie).await;
    assert_eq!(get_with(service, "/cart", &by_cookie).await.text(), "[]");
}

/// The response issues no cookie.
pub async fn without_an_identity_there_is_nothing_to_delete(service: &impl Transport) {
    for headers in [&[][..], &[("cookie", "atelier_session=1")]] {
        delete(service, "/cart", headers).await;
        delete(service, "/cart/1", headers).await;
    }
}

/// Creates carts with 999 lines, one for each run of the suite on a database, because the dataset has too few SKUs to
/// fill a cart. Their SKUs are in no catalog, but the service shows them anyway.
pub const NEARLY_FULL_CARTS: &str = "
    insert into cart.carts (owner)
        select sha256(convert_to('authorization', 'UTF8') || '\\x00' || convert_to('nearly full ' || n, 'UTF8'))
        from generate_series(1, 16) as n;
    insert into cart.lines (cart_id, sku_id, count)
        select carts.id, sku_id, 1 from cart.carts, generate_series(1000001, 1000999) as sku_id
        where not exists (select from cart.lines where cart_id = carts.id) order by 1, 2";

/// A cart with 999 lines accepts one further SKU, and more of the SKUs that it has.
pub async fn a_cart_has_at_most_1000_lines(service: &impl Transport) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let identity = format!("nearly full {}", NEXT.fetch_add(1, Ordering::Relaxed));
    assert_eq!(cart_of(service, &identity).await.matches("sku_id").count(), 999, "{identity}");
    for (sku_id, status) in [(1, 201), (2, 422), (1, 201)] {
        assert_eq!(
            add(service, &identity, &format!(r#"{{"sku_id":{sku_id}}}"#)).await.status,
            status,
            "{sku_id}"
        );
    }
    let cart = cart_of(service, &identity).await;
    assert_eq!(cart.matches("sku_id").count(), 1000);
    assert!(cart.ends_with(r#"{"sku_id":1,"count":2}]"#), "{cart}");
    delete(service, "/cart/1000001", &[("authorization", &identity)]).await;
    assert_eq!(add(service, &identity, r#"{"sku_id":2}"#).await.status, 201, "a line was removed");
}

/// The session numbers of cart.csv and the ids of cart rows give no access to a cart, wherever the client sends them.
pub async fn a_guessed_session_number_opens_no_cart(service: &impl Transport) {
    assert_eq!(add(service, &new_identity(), r#"{"sku_id":1}"#).await.status, 201);
    for number in ["501", "502", "1", "2", "3", "0", "-1", "00000000000000000000000000000001"] {
        for name in ["atelier_session", "session_id", "s_id", "user_session"] {
            let response = get_with(service, "/cart", &[("cookie", &format!("{name}={number}"))]).await;
            assert_eq!(response.text(), "[]", "{name}={number}");
        }
        for path in [format!("/cart?user_session={number}"), format!("/cart?session={number}")] {
            assert_eq!(get(service, &path).await.text(), "[]", "{path}");
        }
        for scheme in ["", "Bearer ", "Basic "] {
            assert_eq!(cart_of(service, &format!("{scheme}{number}")).await, "[]", "{scheme}{number}");
        }
    }
    // A session number that the client chooses does not become a session either.
    let headers = [("content-type", "application/json"), ("cookie", "atelier_session=501")];
    let response = post(service, &headers, r#"{"sku_id":1}"#).await;
    assert_eq!(response.status, 201);
    assert!(response.header("set-cookie").contains("atelier_session="), "{:?}", response.headers);
    let seen = get_with(service, "/cart", &[("cookie", "atelier_session=501")]).await;
    assert_eq!(seen.text(), "[]");
}

/// The body is not JSON, not an object, or has no integer or a count out of range. The cart stays unchanged.
pub async fn a_body_without_a_valid_sku_is_400(service: &impl Transport) {
    let identity = new_identity();
    for body in [
        "",
        " ",
        "{",
        "null",
        "1",
        "[]",
        "[1]",
        "\"1\"",
        "{}",
        "sku_id=1",
        r#"{"sku":1}"#,
        r#"{"sku_id":null}"#,
        r#"{"sku_id":""}"#,
        r#"{"sku_id":" 3"}"#,
        r#"{"sku_id":"03"}"#,
        r#"{"sku_id":"3.5"}"#,
        r#"{"sku_id":"abc"}"#,
        r#"{"sku_id":"NaN"}"#,
        r#"{"sku_id":03}"#,
        r#"{"sku_id":1.5}"#,
        r#"{"sku_id":[1]}"#,
        r#"{"sku_id":{}}"#,
        r#"{"sku_id":true}"#,
        r#"{"sku_id":1}}"#,
        r#"{"sku_id":1} x"#,
        r#"{"sku_id":1,}"#,
        r#"{'sku_id':1}"#,
        r#"{"sku_id":1,"count":0}"#,
        r#"{"sku_id":1,"count":100}"#,
        r#"{"sku_id":1,"count":-1}"#,
        r#"{"sku_id":1,"count":"0"}"#,
        r#"{"sku_id":1,"count":"100"}"#,
        r#"{"sku_id":1,"count":""}"#,
        r#"{"sku_id":1,"count":"two"}"#,
        r#"{"sku_id":1,"count":true}"#,
        r#"{"sku_id":1,"count":1.5}"#,
        r#"{"sku_id":1,"count":99999999999999999999}"#,
    ] {
        assert_eq!(add(service, &identity, body).await.status, 400, "{body}");
    }
    let nested = "[".repeat(1024);
    assert_eq!(add(service, &identity, &nested).await.status, 400);
    let headers = [("authorization", identity.as_str()), ("content-type", "application/json")];
    let not_utf8: &'static [u8] = b"{\"sku_id\":1,\"x\":\"\xff\"}";
    assert_eq!(post(service, &headers, not_utf8).await.status, 400);
    assert_eq!(cart_of(service, &identity).await, "[]");
}

/// SKU 5 does not exist, and 13 was rejected with its style.
pub async fn a_sku_that_does_not_exist_is_422(service: &impl Transport) {
    let identity = new_identity();
    for sku in [5, 13, 2_147_483_647] {
        assert_eq!(add(service, &identity, &format!(r#"{{"sku_id":{sku}}}"#)).await.status, 422, "{sku}");
    }
    let long = "9".repeat(900);
    let string = format!("\"{long}\"");
    for sku in
        ["0", "-1", "2147483648", "9223372036854775807", "99999999999999999999", "\"-1\"", &long, &string]
    {
        let response = add(service, &identity, &format!(r#"{{"sku_id":{sku}}}"#)).await;
        assert_eq!(response.status.as_u16(), 422, "{sku}");
    }
    assert_eq!(cart_of(service, &identity).await, "[]");
}

/// The content type alone decides. Parameters of the right type are accepted.
pub async fn a_body_of_another_type_is_415(service: &impl Transport) {
    let identity = new_identity();
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "", "text/json;x"]
    {
        let headers = [("authorization", identity.as_str()), ("content-type", kind)];
        assert_eq!(post(service, &headers, r#"{"sku_id":1}"#).await.status, 415, "{kind}");
    }
    assert_eq!(post(service, &[("authorization", &identity)], r#"{"sku_id":1}"#).await.status, 415);
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
    ] {
        let headers = [("authorization", identity.as_str()), ("content-type", kind)];
        assert_eq!(post(service, &headers, r#"{"sku_id":1}"#).await.status, 201, "{kind}");
    }
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":1,"count":4}]"#);
}

/// The limit is exact to the byte.
pub async fn a_body_over_a_kibibyte_is_413(service: &impl Transport) {
    let identity = new_identity();
    let body = |length: usize| r#"{"sku_id":1}"#.to_owned() + &" ".repeat(length - 12);
    assert_eq!(add(service, &identity, &body(1024)).await.status, 201);
    for length in [1025, 100_000] {
        assert_eq!(add(service, &identity, &body(length)).await.status, 413, "{length}");
    }
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":1,"count":1}]"#);
}

/// Neither success nor error may be stored, and there is no tag for a conditional request.
pub async fn cart_responses_are_not_cacheable(service: &impl Transport) {
    let identity = new_identity();
    let responses = [
        get_with(service, "/cart", &[("authorization", &identity), ("if-none-match", "*")]).await,
        add(service, &identity, r#"{"sku_id":1}"#).await,
        add(service, &identity, "{").await,
        add(service, &identity, r#"{"sku_id":5}"#).await,
    ];
    assert_eq!(responses.each_ref().map(|a| a.status.as_u16()), [200, 201, 400, 422]);
    for response in responses {
        assert!(response.header("cache-control").contains("no-store"), "{response:?}");
        assert_eq!(response.header("etag"), "");
    }
}
