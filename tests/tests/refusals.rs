//! Malformed requests: the host returns the same status as NGINX, and both return a problem with the guarantees for
//! every response.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use bytes::Bytes;
use conformance::{RawTarget, Transport, send};
use http::{Request, Response};
use support::serving::{Balanced, Socket, exchange, response, small_fleet, small_host};

/// A transport that sends the same bytes for every request.
struct Bytewise<'a>(Socket, &'a [u8]);

impl Transport for Bytewise<'_> {
    async fn call(&self, _: Request<Bytes>) -> Response<Bytes> {
        response(&exchange(self.0.0, self.1).await)
    }
}

/// Returns the status of the response to these bytes, which must fulfil the guarantees for every response.
async fn status(service: Socket, bytes: &[u8]) -> u16 {
    let mut words = bytes.split(|byte| b" \r".contains(byte));
    let method = words.next().filter(|method| [&b"HEAD"[..], b"OPTIONS"].contains(method)).unwrap_or(b"GET");
    let mut request = Request::builder().method(method).body(Bytes::new()).unwrap();
    request.extensions_mut().insert(RawTarget(Bytes::copy_from_slice(words.next().unwrap_or_default())));
    send(&Bytewise(service, bytes), request).await.status.as_u16()
}

#[tokio::test]
async fn the_host_and_nginx_reject_malformed_requests_with_the_same_status() {
    let (host, Balanced(nginx)) = (small_host().await, small_fleet().await);
    let many = "x-y: z\r\n".repeat(200);
    let (long, longer) = ("x".repeat(9_000), "x".repeat(200_000));
    let head =
        |line: &str, headers: &str| format!("{line}\r\n{headers}connection: close\r\n\r\n").into_bytes();
    let get = |headers: &str| head("GET /products/1 HTTP/1.1", headers);
    for (bytes, expected) in [
        (get("host: a\r\n"), 200),
        (get(""), 400),
        (get("host: a\r\nhost: b\r\n"), 400),
        (get("host: a\r\nHost: a\r\n"), 400),
        (head("GET /products/1 HTTP/1.0", ""), 200),
        (head("GET /products/1 HTTP/1.0", "host: a\r\nhost: b\r\n"), 400),
        (head("GET /products/1 HTTP/2.0", "host: a\r\n"), 505),
        (head("GET /products/1 HTTP/1.x", "host: a\r\n"), 400),
        (head("GET /products/1 FTP/1.1", "host: a\r\n"), 400),
        (head("GET  HTTP/1.1", "host: a\r\n"), 400),
        (head("GET products HTTP/1.1", "host: a\r\n"), 400),
        (head("G@T /products HTTP/1.1", "host: a\r\n"), 400),
        (head("GET /products/1\x01 HTTP/1.1", "host: a\r\n"), 400),
        (get("host: a\r\nbad name: x\r\n"), 400),
        (get("host: a\r\nx: \x00\r\n"), 400),
        (get("host: a\r\ncontent-length: x\r\n"), 400),
        (get("host: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n"), 400),
        (get(&format!("host: a\r\n{many}")), 431),
        (get(&format!("host: a\r\nx: {long}\r\n")), 431),
        (get(&format!("host: a\r\nx: {longer}\r\n")), 431),
        (head(&format!("GET /products?{long} HTTP/1.1"), "host: a\r\n"), 414),
        (head(&format!("GET /{longer} HTTP/1.1"), "host: a\r\n"), 414),
        (head(&format!("GET /products?{} HTTP/1.1", &long[..8_000]), "host: a\r\n"), 200),
        (head("CONNECT a:443 HTTP/1.1", "host: a\r\n"), 400),
        (get("host:\r\n"), 400),
        (get("host: a b\r\n"), 400),
        (get("host: a/b\r\n"), 400),
        (get("host: a\r\ntransfer-encoding: gzip, chunked\r\n"), 501),
        (get("host: a\r\ntransfer-encoding: chunked, chunked\r\n"), 501),
        (get("host: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"), 400),
        (head("GET /products/1 HTTP/1.0", "host: a\r\ntransfer-encoding: chunked\r\n"), 400),
        (head("POST /cart HTTP/1.1", "host: a\r\ntransfer-encoding: gzip, chunked\r\n"), 501),
        (
            head(
                "POST /cart HTTP/1.1",
                "host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            ),
            400,
        ),
        (head("POST /cart HTTP/1.1", "host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n"), 400),
        (head("POST /cart HTTP/1.1", "host: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n"), 400),
        (get("host: a..b\r\n"), 400),
        (head("GET /%zz HTTP/1.1", "host: a\r\n"), 400),
        (head("OPTIONS /% HTTP/1.1", "host: a\r\n"), 400),
        (head("HEAD /cart/%00 HTTP/1.1", "host: a\r\n"), 400),
        (head("GET /.. HTTP/1.1", "host: a\r\n"), 400),
        (head("GET /products/../../etc HTTP/1.1", "host: a\r\n"), 400),
        (head("DELETE /cart/%2e%2e/%2E. HTTP/1.1", "host: a\r\n"), 400),
        (head("GET //.. HTTP/1.1", "host: a\r\n"), 404),
        (head("GET /products/../products HTTP/1.1", "host: a\r\n"), 404),
        (head("OPTIONS * HTTP/1.1", "host: a\r\n"), 400),
        (head("GET * HTTP/1.1", "host: a\r\n"), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 400),
        (head("OPTIONS /products?\" HTTP/1.1", "host: a\r\n"), 204),
        (head("PUT /products?< HTTP/1.1", "host: a\r\n"), 405),
        (b"what is this?\r\n\r\n".to_vec(), 400),
        (b"\0\r\n\r\n".to_vec(), 400),
    ] {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        assert_eq!(status(host, &bytes).await, expected, "the host to {what:?}");
        assert_eq!(status(nginx, &bytes).await, expected, "NGINX to {what:?}");
    }
    // RFC 9112 wants 400 where the last coding is not chunked, because the length of the body is unknown then.
    for coding in ["gzip", "identity", "chunked;q=1", "chunked, gzip"] {
        let bytes = get(&format!("host: a\r\ntransfer-encoding: {coding}\r\n"));
        assert_eq!((status(host, &bytes).await, status(nginx, &bytes).await), (400, 501), "{coding}");
    }
}
