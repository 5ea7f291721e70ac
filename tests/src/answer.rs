//! Asking, with a look at what is promised of every answer.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};

use crate::Transport;

/// An answer that kept the promises made for all.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as sent.
    pub body: Bytes,
}

impl Answer {
    /// A header's value; the empty text where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Its body as text, gzip undone.
    pub fn text(&self) -> String {
        String::from_utf8(self.plain()).unwrap()
    }

    /// Its body with gzip undone.
    pub fn plain(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            "" => self.body.to_vec(),
            "gzip" => gunzip(&self.body),
            other => panic!("nobody asked for the coding {other:?}"),
        }
    }
}

/// Undoes gzip.
pub fn gunzip(body: &[u8]) -> Vec<u8> {
    let end = body.len().checked_sub(4).expect("gzip ends with a length");
    let length = u32::from_le_bytes(body[end..].try_into().unwrap());
    let mut plain = vec![0; length as usize];
    let written = libdeflater::Decompressor::new().gzip_decompress(body, &mut plain).unwrap();
    assert_eq!(written, plain.len());
    plain
}

/// Asks with GET.
pub async fn get(service: &impl Transport, path: &str) -> Answer {
    get_with(service, path, &[]).await
}

/// Asks with GET and these headers.
pub async fn get_with(service: &impl Transport, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(service, request.body(Bytes::new()).unwrap()).await
}

/// Asks, and sees to what is promised of every answer.
pub async fn ask(service: &impl Transport, request: Request<Bytes>) -> Answer {
    let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let method = request.method().clone();
    let (parts, body) = service.call(request).await.into_parts();
    let answer = Answer { status: parts.status, headers: parts.headers, body };
    let status = answer.status;

    // 501 and 505 are a coding and a version of HTTP that nobody here speaks: the client's doing.
    assert!(!status.is_server_error() || [501, 503, 505].contains(&status.as_u16()), "{what}: {status}");
    assert_eq!(answer.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*", "{what}");
    assert_eq!(answer.header(ACCESS_CONTROL_EXPOSE_HEADERS.as_str()), "*", "{what}");
    for unread in ["timing-allow-origin", "content-security-policy"] {
        assert_eq!(answer.header(unread), "", "{what}: {unread}");
    }
    assert!(is_request_id(answer.header("x-request-id")), "{what}: {:?}", answer.header("x-request-id"));

    if method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
        assert!(answer.body.is_empty(), "{what}");
    }
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(answer.header(CONTENT_TYPE.as_str()), "application/problem+json", "{what}");
        if method != Method::HEAD {
            assert_is_problem(&answer, &what);
        }
    }
    answer
}

/// Whether this is what the contract takes for an id of a request.
pub(crate) fn is_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn assert_is_problem(answer: &Answer, what: &str) {
    let text = answer.text();
    let problem: serde_json::Value = serde_json::from_str(&text).expect(what);
    let members = problem.as_object().expect(what);
    for member in ["type", "title", "detail", "request_id"] {
        assert!(
            members.get(member).is_some_and(|m| m.as_str().is_some_and(|s| !s.is_empty())),
            "{what}: {text}"
        );
    }
    assert_eq!(members["status"], answer.status.as_u16(), "{what}: {text}");
    assert_eq!(members["request_id"], answer.header("x-request-id"), "{what}: {text}");
    for secret in ["select ", "postgres", "catalog.", "panicked", ".rs:", "Error {", "SqlState"] {
        assert!(!text.contains(secret), "{what} says what is nobody's business: {text}");
    }
}
