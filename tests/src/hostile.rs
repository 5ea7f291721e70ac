//! Malicious requests. Each request of these checks asserts that the status is below 500.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::{CheckedResponse, Transport, get, golden};

/// The number of random requests that are generated. Some of them cannot be sent.
const RANDOM_REQUESTS: usize = 512;

/// Sends a request, and asserts that it gets no status of 500 or above: not even 503, which would count as a database
/// failure.
async fn send(service: &impl Transport, request: Request<Bytes>) -> CheckedResponse {
    let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let response = crate::send(service, request).await;
    assert!(!response.status.is_server_error(), "{what}: {}", response.status);
    response
}

/// Each request targets a parser that handles it wrongly.
pub async fn malicious_requests_get_no_500(service: &impl Transport) {
    let long = "9".repeat(4000);
    for path in [
        "/products/1'",
        "/products/1%27%20or%201=1--",
        "/products/1%00",
        "/products/%ff%fe",
        "/products/%",
        "/products/%zz",
        "/products/1%2Fstyles",
        "/products/%2e%2e/cart",
        "/products/1%0d%0aset-cookie:x=1",
        "/products?page=%00",
        "/products?page=%ff",
        "/products?page=%",
        "/products?%ff=1",
        "/products?page=1%0d%0ax:y",
        "/products?count=5&page=\u{7f}",
        "/products?page=1&page",
        "/products?&=&;;",
        "/products/$%7Bjndi:ldap://x%7D",
        "/products/1/styles?%00",
        "/products?category=%00",
        "/products?category=%ff%fe",
        "/products?category=%27;drop%20table%20x",
        "/products?q=%00%00%00",
        "/products?q=abc%00def",
        "/products?q=%f0%9f%a7%a6abc%ff",
        "/products?q=%CC%81%CC%81%CC%81",
        "/cards?ids=%00",
        "/cards?ids=1,%ff",
        "/cart?%ff",
        "/cart/lines?%ff",
    ] {
        if let Ok(uri) = Uri::try_from(path) {
            send(service, Request::get(uri).body(Bytes::new()).unwrap()).await;
        }
    }
    for path in [
        format!("/products/{long}"),
        format!("/products?page={long}"),
        format!("/{long}"),
        format!("/products?{long}"),
        format!("/products?category={long}"),
        format!("/products?q={long}"),
        format!("/cards?ids={long}"),
    ] {
        get(service, &path).await;
    }
    let bytes = |value: &[u8]| HeaderValue::from_bytes(value).unwrap();
    for name in [
        "accept-encoding",
        "if-none-match",
        "x-request-id",
        "cookie",
        "authorization",
        "content-type",
        "accept",
        "range",
        "origin",
        "traceparent",
        "x-forwarded-proto",
        "x-http-method-override",
        "expect",
    ] {
        for value in
            [&b"\xff\xfe"[..], b"", b"\"", b",,,,", b";q=", b"%00", b"a=b;c=d;=;", long.as_bytes(), b"\t"]
        {
            if (name, value) == ("expect", b"") {
                continue;
            }
            for (method, path) in [("GET", "/products/1/styles"), ("GET", "/cart"), ("POST", "/cart")] {
                let request = Request::builder().method(method).uri(path).header(name, bytes(value));
                send(service, request.body(Bytes::new()).unwrap()).await;
            }
        }
    }
    let many = (0..60).fold(Request::get("/cart"), |request, n| request.header("cookie", format!("c{n}=1")));
    send(service, many.body(Bytes::new()).unwrap()).await;
    assert_eq!(get(service, "/products/1").await.text(), golden("/products/1"));
}

/// The requests combine fragments that parsers often handle wrongly.
pub async fn random_requests_get_no_500(service: &impl Transport) {
    for request in random_requests() {
        send(service, request).await;
    }
    assert_eq!(get(service, "/products/1").await.text(), golden("/products/1"));
}

/// Returns random requests, the same ones each time.
pub fn random_requests() -> Vec<Request<Bytes>> {
    let runner = &mut TestRunner::deterministic();
    let strategy = request();
    (0..RANDOM_REQUESTS).filter_map(|_| strategy.new_tree(runner).unwrap().current()).collect()
}

/// Generates requests; `None` if a fragment is invalid in a URI or in a header.
fn request() -> impl Strategy<Value = Option<Request<Bytes>>> {
    let piece = prop_oneof![
        Just("products".to_owned()),
        Just("cart".to_owned()),
        Just("styles".to_owned()),
        Just("overview".to_owned()),
        Just("lines".to_owned()),
        Just("cards".to_owned()),
        Just("1".to_owned()),
        Just("..".to_owned()),
        "[0-9]{1,12}",
        "%[0-9a-f]{2}",
        "[!-~]{0,8}",
    ];
    let pair =
        ("(page|count|category|q|ids|x|%70age)?", "[=&;+%]{0,2}", "([0-9]{0,12}|[!-~]{0,6}|%[0-9a-f]{2})")
            .prop_map(|(name, sign, value)| format!("{name}{sign}{value}"));
    let path = proptest::collection::vec(piece, 0..5).prop_map(|pieces| format!("/{}", pieces.join("/")));
    let query = proptest::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"));
    let name = proptest::sample::select(vec![
        "accept-encoding",
        "if-none-match",
        "x-request-id",
        "cookie",
        "authorization",
        "content-type",
        "origin",
        "te",
    ]);
    let value = prop_oneof![
        "[ -~]{0,40}".prop_map(String::into_bytes),
        "(gzip|\\*|br|identity)(;q=[0-9.]{0,5})?(, ?(gzip|\\*))?".prop_map(String::into_bytes),
        "(W/)?\"[0-9a-f]{0,20}\"?(, ?\\*)?".prop_map(String::into_bytes),
        "(atelier_session=)?[ -~]{0,40}".prop_map(String::into_bytes),
        Just(b"application/json".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let headers = proptest::collection::vec((name, value), 0..4);
    let method =
        proptest::sample::select(vec!["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"]);
    let body = prop_oneof![
        Just(Vec::new()),
        "\\{\"(sku_id|count)\":[ -~]{0,12}\\}?".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..1100),
    ];
    (method, path, query, headers, body).prop_map(|(method, path, query, headers, body)| {
        let uri = Uri::try_from(format!("{path}?{query}")).ok().filter(|uri| uri.path().starts_with('/'))?;
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
        *request.uri_mut() = uri;
        for (name, value) in headers {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?);
        }
        Some(request)
    })
}
