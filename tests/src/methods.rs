//! HEAD, OPTIONS, methods that are not allowed, and request ids.

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::answer::is_request_id;
use crate::caching::PATHS;
use crate::{Transport, ask, get, get_with};

async fn request(service: &impl Transport, method: &str, path: &str) -> crate::Answer {
    ask(service, Request::builder().method(method).uri(path).body(Bytes::new()).unwrap()).await
}

/// What must be the same in both: everything but what differs from one request to the next.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for passing in ["x-request-id", "server-timing", "date"] {
        headers.remove(passing);
    }
    headers
}

/// The length of the body included, and for what is refused as well.
pub async fn head_answers_as_get_without_the_body(service: &impl Transport) {
    let others = ["/cart", "/products/", "/products/3", "/products/abc", "/products?page=0", "/nothing"];
    for path in PATHS.iter().chain(&others) {
        let (head, get) = (request(service, "HEAD", path).await, get(service, path).await);
        assert_eq!(head.status, get.status, "{path}");
        if get.status.is_success() {
            assert_eq!(lasting(&head.headers), lasting(&get.headers), "{path}");
            assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        }
    }
}

/// For every path, with what a page of another origin may send.
pub async fn options_is_answered_for_browsers(service: &impl Transport) {
    let ours = PATHS.iter().chain(&["/products", "/products/", "/cart", "/cart/1", "/products/1/"]);
    for path in ours {
        let answer = request(service, "OPTIONS", path).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), "authorization, *", "{path}");
        assert_eq!(answer.header("access-control-max-age"), "86400", "{path}");
        let methods = answer.header("access-control-allow-methods");
        assert_eq!(methods, "GET, HEAD, POST, PUT, DELETE, OPTIONS", "{path}");
    }
}

/// Whatever its name.
pub async fn another_method_is_405_with_what_is_allowed<T: Transport>(service: &T) {
    for path in PATHS.iter().chain(&["/cart", "/cart/", "/cart/1", "/cart/1/", "/cart/abc"]) {
        let expected: &[&str] = match path.trim_end_matches('/') {
            "/cart" => &["GET", "HEAD", "POST", "DELETE", "OPTIONS"],
            cart if cart.starts_with("/cart/") => &["DELETE", "OPTIONS"],
            _ => &["GET", "HEAD", "OPTIONS"],
        };
        let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "FETCH", "get"];
        for method in all.into_iter().filter(|method| !expected.contains(method)) {
            let answer = request(service, method, path).await;
            if T::IS_STRICT && method == "get" {
                assert_eq!(answer.status, 400, "{method} {path}");
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path}");
            let allow = answer.header("allow");
            assert_eq!(allow.split(", ").collect::<Vec<_>>(), expected, "{method} {path}");
        }
    }
}

/// The client's where it will do, else a new one each time.
pub async fn a_request_id_is_taken_or_made(service: &impl Transport) {
    let longest = "a".repeat(64);
    for path in ["/products/1", "/products/3", "/nothing", "/cart"] {
        for id in ["1", "A-b_c.9", "...", &longest] {
            let answer = get_with(service, path, &[("x-request-id", id)]).await;
            assert_eq!(answer.header("x-request-id"), id, "{path}");
        }
        let too_long = "a".repeat(65);
        let mut made = HashSet::new();
        for id in ["", &too_long, "a b", "a/b", "a\"b", "{}", "a;b", "a,b", "a\tb"] {
            let answer = get_with(service, path, &[("x-request-id", id)]).await;
            let given = answer.header("x-request-id").to_owned();
            assert!(given != id && is_request_id(&given), "{path} {id:?}: {given}");
            assert!(made.insert(given), "{path}: the same id twice");
        }
    }
}
