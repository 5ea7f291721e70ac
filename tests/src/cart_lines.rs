//! Checks of the lines of a cart: setting their counts, and showing them with their products.

use bytes::Bytes;
use http::Request;

use crate::cart::{add, cart_of, new_identity};
use crate::{CheckedResponse, Transport, get, get_with, send};

/// Sets the count of a sku with these headers.
async fn put(
    service: &impl Transport,
    id: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> CheckedResponse {
    let mut request = Request::put(format!("/cart/{id}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = send(service, request.body(body.into()).unwrap()).await;
    assert_eq!(response.header("cache-control"), "no-store", "{response:?}");
    response
}

/// Sets the count in the cart of an identity.
async fn set(service: &impl Transport, identity: &str, sku_id: u32, count: &str) -> CheckedResponse {
    let headers = [("authorization", identity), ("content-type", "application/json")];
    put(service, &sku_id.to_string(), &headers, format!(r#"{{"count":{count}}}"#)).await
}

/// A second request with the same count changes nothing.
pub async fn a_count_is_set_and_repeated_requests_change_nothing(service: &impl Transport) {
    let identity = new_identity();
    add(service, &identity, r#"{"sku_id":16,"count":7}"#).await;
    for (sku_id, count, line) in [
        (3, "2", r#"{"sku_id":3,"count":2}"#),
        (16, "9999", r#"{"sku_id":16,"count":9999}"#),
        (3, "\"41\"", r#"{"sku_id":3,"count":41}"#),
        (3, "5.0", r#"{"sku_id":3,"count":5}"#),
    ] {
        for _ in 0..2 {
            let response = set(service, &identity, sku_id, count).await;
            assert_eq!((response.status.as_u16(), response.text().as_str()), (200, line));
            assert_eq!(response.header("content-type"), "application/json");
            assert_eq!(response.header("set-cookie"), "");
        }
    }
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":16,"count":9999},{"sku_id":3,"count":5}]"#);
    assert_eq!(add(service, &identity, r#"{"sku_id":16}"#).await.status, 422, "the cart is full of this sku");
}

/// It is removed as by a DELETE, whether the catalog has the sku or not.
pub async fn a_count_of_0_removes_the_line(service: &impl Transport) {
    let identity = new_identity();
    add(service, &identity, r#"{"sku_id":1}"#).await;
    add(service, &identity, r#"{"sku_id":2}"#).await;
    for sku_id in [1, 1, 3, 999] {
        let response = set(service, &identity, sku_id, "0").await;
        assert_eq!((response.status.as_u16(), response.body.len()), (204, 0), "{sku_id}");
        assert_eq!((response.header("content-type"), response.header("set-cookie")), ("", ""));
    }
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":2,"count":1}]"#);
    let without_identity = put(service, "1", &[("content-type", "application/json")], r#"{"count":0}"#).await;
    assert_eq!((without_identity.status.as_u16(), without_identity.header("set-cookie")), (204, ""));
}

/// The cookie identifies the new cart.
pub async fn a_first_put_issues_a_cookie(service: &impl Transport) {
    let json = ("content-type", "application/json");
    let first = put(service, "1", &[json], r#"{"count":3}"#).await;
    assert_eq!((first.status.as_u16(), first.text().as_str()), (200, r#"{"sku_id":1,"count":3}"#));
    let cookie = first.header("set-cookie").split(';').next().unwrap();
    assert!(cookie.contains("atelier_session="), "{first:?}");
    let again = put(service, "2", &[json, ("cookie", cookie)], r#"{"count":4}"#).await;
    assert_eq!((again.status.as_u16(), again.header("set-cookie")), (200, ""));
    let seen = get_with(service, "/cart", &[("cookie", cookie)]).await;
    assert_eq!(seen.text(), r#"[{"sku_id":1,"count":3},{"sku_id":2,"count":4}]"#);
}

/// Nothing changes.
pub async fn a_count_that_is_not_a_whole_number_in_range_is_400(service: &impl Transport) {
    let identity = new_identity();
    set(service, &identity, 1, "3").await;
    for count in ["-1", "10000", "1.5", "null", "true", "\"\"", "\"01\"", "[1]", "{}", "1e999"] {
        assert_eq!(set(service, &identity, 1, count).await.status, 400, "{count}");
    }
    let headers = [("authorization", identity.as_str()), ("content-type", "application/json")];
    for body in ["", "{", "{}", "[1]", "1", "null", r#"{"sku_id":1}"#] {
        assert_eq!(put(service, "1", &headers, body).await.status, 400, "{body}");
    }
    for kind in ["text/plain", ""] {
        let headers = [("authorization", identity.as_str()), ("content-type", kind)];
        assert_eq!(put(service, "1", &headers, r#"{"count":1}"#).await.status, 415, "{kind}");
    }
    assert_eq!(put(service, "1", &headers, " ".repeat(1025)).await.status, 413);
    assert_eq!(cart_of(service, &identity).await, r#"[{"sku_id":1,"count":3}]"#);
}

/// No cart gets a line of an unknown sku.
pub async fn a_count_of_a_sku_that_does_not_exist_is_422(service: &impl Transport) {
    let identity = new_identity();
    for sku_id in [5, 999, 2_147_483_647] {
        assert_eq!(set(service, &identity, sku_id, "1").await.status, 422, "{sku_id}");
    }
    assert_eq!(cart_of(service, &identity).await, "[]");
}

/// The lines are in the order of the cart. Values are those of the styles.
pub async fn lines_of_a_cart_have_their_products(service: &impl Transport) {
    let identity = new_identity();
    for (sku_id, count) in [(10, "2"), (7, "1"), (12, "9999"), (1, "1"), (2, "3")] {
        assert_eq!(set(service, &identity, sku_id, count).await.status, 200, "{sku_id}");
    }
    let response = get_with(service, "/cart/lines", &[("authorization", &identity)]).await;
    let expected = [
        r#"{"sku_id":10,"count":2,"product_id":2,"product_name":"O'Hara's \"Plain\" Cap","style_id":5,"style_name":"Ink","size":"M","original_price":"22","sale_price":"18","thumbnail_url":"https://photos.example/7?w=300&q=80","quantity":2147483647}"#,
        r#"{"sku_id":7,"count":1,"product_id":1,"product_name":"Thistle Raincoat","style_id":2,"style_name":"Ochre; Undyed","size":"12.5","original_price":"185","sale_price":"0","thumbnail_url":"https://photos.example/3?w=300&q=80","quantity":0}"#,
        r#"{"sku_id":12,"count":9999,"product_id":20,"product_name":"Kiln Dress","style_id":13,"style_name":"Only Skus","size":"S","original_price":"118","sale_price":null,"thumbnail_url":null,"quantity":5}"#,
        r#"{"sku_id":1,"count":1,"product_id":1,"product_name":"Thistle Raincoat","style_id":1,"style_name":"Slate & Moss","size":"XS","original_price":"185","sale_price":null,"thumbnail_url":"https://photos.example/1?w=300&q=80","quantity":8}"#,
        r#"{"sku_id":2,"count":3,"product_id":1,"product_name":"Thistle Raincoat","style_id":1,"style_name":"Slate & Moss","size":"S","original_price":"185","sale_price":null,"thumbnail_url":"https://photos.example/1?w=300&q=80","quantity":16}"#,
    ];
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), format!("[{}]", expected.join(",")));
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!((response.header("cache-control"), response.header("etag")), ("no-store", ""));
    for (path, headers) in [("/cart/lines", &[][..]), ("/cart/lines/", &[("authorization", "nobody's")])] {
        let response = get_with(service, path, headers).await;
        assert_eq!((response.status.as_u16(), response.text().as_str()), (200, "[]"), "{path}");
    }
    assert_eq!(get(service, "/cart/lines//").await.status, 404);
}
