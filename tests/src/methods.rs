//! Checks of HEAD, OPTIONS, methods that are not allowed, and request ids.

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::caching::PATHS;
use crate::client::is_request_id;
use crate::{Transport, get, get_with, send};

async fn request(service: &impl Transport, method: &str, path: &str) -> crate::CheckedResponse {
    send(service, Request::builder().method(method).uri(path).body(Bytes::new()).unwrap()).await
}

/// Returns the headers without those that differ between any two requests.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for passing in ["x-request-id", "server-timing", "date"] {
        headers.remove(passing);
    }
    headers
}

/// The headers include the length of the body. Errors are compared too.
pub async fn head_responds_like_get_without_the_body(service: &impl Transport) {
    let others = [
        "/cart",
        "/cart/lines",
        "/products/",
        "/products/3",
        "/products/abc",
        "/products?page=0",
        "/nothing",
    ];
    for path in PATHS.iter().chain(&others) {
        let (head, get) = (request(service, "HEAD", path).await, get(service, path).await);
        assert_eq!(head.status, get.status, "{path}");
        if get.status.is_success() {
            assert_eq!(lasting(&head.headers), lasting(&get.headers), "{path}");
            assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        }
    }
}

/// Every path permits the headers and methods that a page of another origin may send.
pub async fn options_permits_cross_origin_requests(service: &impl Transport) {
    let ours = PATHS.iter().chain(&["/products", "/products/", "/cart", "/cart/1", "/products/1/"]);
    for path in ours {
        let response = request(service, "OPTIONS", path).await;
        assert_eq!(response.status, 204, "{path}");
        assert_eq!(response.header("access-control-allow-headers"), "authorization, *", "{path}");
        assert_eq!(response.header("access-control-max-age"), "86400", "{path}");
        let methods = response.header("access-control-allow-methods");
        assert_eq!(methods, "GET, HEAD, POST, PUT, DELETE, OPTIONS", "{path}");
    }
}

/// The name of the method does not matter.
pub async fn an_unsupported_method_is_405_with_the_allowed_ones<T: Transport>(service: &T) {
    for path in PATHS.iter().chain(&[
        "/cart",
        "/cart/",
        "/cart/1",
        "/cart/1/",
        "/cart/abc",
        "/cart/lines",
        "/cart/lines/",
    ]) {
        let expected: &[&str] = match path.trim_end_matches('/') {
            "/cart" => &["GET", "HEAD", "POST", "DELETE", "OPTIONS"],
            "/cart/lines" => &["GET", "HEAD", "OPTIONS"],
            cart if cart.starts_with("/cart/") => &["PUT", "DELETE", "OPTIONS"],
            _ => &["GET", "HEAD", "OPTIONS"],
        };
        let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "FETCH", "get"];
        for method in all.into_iter().filter(|method| !expected.contains(method)) {
            let response = request(service, method, path).await;
            if T::IS_STRICT && method == "get" {
                assert_eq!(response.status, 400, "{method} {path}");
                continue;
            }
            assert_eq!(response.status, 405, "{method} {path}");
            let allow = response.header("allow");
            assert_eq!(allow.split(", ").collect::<Vec<_>>(), expected, "{method} {path}");
        }
    }
}

/// A valid id from the client is kept. Otherwise each request gets a new one.
pub async fn a_valid_request_id_is_kept_and_an_invalid_one_replaced(service: &impl Transport) {
    let longest = "a".repeat(64);
    for path in ["/products/1", "/products/3", "/nothing", "/cart"] {
        for id in ["1", "A-b_c.9", "...", &longest] {
            let response = get_with(service, path, &[("x-request-id", id)]).await;
            assert_eq!(response.header("x-request-id"), id, "{path}");
        }
        let too_long = "a".repeat(65);
        let mut made = HashSet::new();
        for id in ["", &too_long, "a b", "a/b", "a\"b", "{}", "a;b", "a,b", "a\tb"] {
            let response = get_with(service, path, &[("x-request-id", id)]).await;
            let given = response.header("x-request-id").to_owned();
            assert!(given != id && is_request_id(&given), "{path} {id:?}: {given}");
            assert!(made.insert(given), "{path}: the same id twice");
        }
    }
}
