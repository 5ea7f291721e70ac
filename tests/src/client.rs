//! A client for the checks, which verifies the guarantees that hold for every response.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
};
use http::{HeaderMap, Method, Request, StatusCode};

use crate::pages::is_page;
use crate::{RawTarget, Transport};

/// A response that has passed the checks for every response.
#[derive(Debug)]
pub struct CheckedResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as sent, gzipped or not.
    pub body: Bytes,
}

impl CheckedResponse {
    /// Returns a header's value, or the empty string if the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the decoded body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.plain()).unwrap()
    }

    /// Returns the body, decompressed if it is gzipped.
    pub fn plain(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            _ if self.body.is_empty() => Vec::new(), // of HEAD
            "" => self.body.to_vec(),
            "gzip" => gunzip(&self.body),
            other => panic!("no request accepts the content coding {other:?}"),
        }
    }
}

/// Decompresses a gzip body.
pub fn gunzip(body: &[u8]) -> Vec<u8> {
    let end = body.len().checked_sub(4).expect("gzip trailer with the length");
    let length = u32::from_le_bytes(body[end..].try_into().unwrap());
    let mut plain = vec![0; length as usize];
    let written = libdeflater::Decompressor::new().gzip_decompress(body, &mut plain).unwrap();
    assert_eq!(written, plain.len());
    plain
}

/// Sends a GET request.
pub async fn get(service: &impl Transport, path: &str) -> CheckedResponse {
    get_with(service, path, &[]).await
}

/// Sends a GET request with these headers.
pub async fn get_with(service: &impl Transport, path: &str, headers: &[(&str, &str)]) -> CheckedResponse {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(service, request.body(Bytes::new()).unwrap()).await
}

/// Sends a request, and asserts the guarantees that hold for every response.
pub async fn send(service: &impl Transport, request: Request<Bytes>) -> CheckedResponse {
    let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let target = RawTarget::of(&request).0.into_owned();
    let (parts, body) = service.call(request).await.into_parts();
    let response = CheckedResponse { status: parts.status, headers: parts.headers, body };
    let status = response.status;

    // 501 and 505 reject a transfer coding and an HTTP version that the service does not support: client errors.
    assert!(!status.is_server_error() || [501, 503, 505].contains(&status.as_u16()), "{what}: {status}");
    assert_eq!(response.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*", "{what}");
    assert_eq!(response.header(ACCESS_CONTROL_EXPOSE_HEADERS.as_str()), "*", "{what}");
    assert_eq!(response.header("timing-allow-origin"), "", "{what}");
    // Two policies would both apply. Only a browser that shows a page reads one.
    let policies = response.headers.get_all(CONTENT_SECURITY_POLICY).iter().count();
    let max = usize::from(is_page(&path));
    assert!(policies <= max, "{what}: {policies} policies");
    assert!(is_request_id(response.header("x-request-id")), "{what}: {:?}", response.header("x-request-id"));

    if method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
        assert!(response.body.is_empty(), "{what}");
    }
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(response.header(CONTENT_TYPE.as_str()), "application/problem+json", "{what}");
        if method != Method::HEAD {
            assert_is_problem(&response, &what);
        }
    }
    let documented = openapi::verify(&method, &target, status, &response.headers, &response.plain());
    documented.unwrap_or_else(|error| panic!("{what}: not as in openapi.json: {error}"));
    response
}

/// Returns whether the contract accepts this as a request id.
pub(crate) fn is_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn assert_is_problem(response: &CheckedResponse, what: &str) {
    let text = response.text();
    let problem: serde_json::Value = serde_json::from_str(&text).expect(what);
    let members = problem.as_object().expect(what);
    for member in ["type", "title", "detail", "request_id"] {
        assert!(
            members.get(member).is_some_and(|m| m.as_str().is_some_and(|s| !s.is_empty())),
            "{what}: {text}"
        );
    }
    assert_eq!(members["status"], response.status.as_u16(), "{what}: {text}");
    assert_eq!(members["request_id"], response.header("x-request-id"), "{what}: {text}");
    for secret in ["select ", "postgres", "catalog.", "panicked", ".rs:", "Error {", "SqlState"] {
        assert!(!text.contains(secret), "{what} leaks an internal detail: {text}");
    }
}
