//! The check of a response against the contract, for the conformance suite.

use atelier_host::ENDPOINTS;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode};
use shared::Endpoint;
use shared::endpoint::Method as EndpointMethod;

use crate::body::Body;
use crate::headers::{PREFLIGHT, ResponseHeader};
use crate::operations::{self, Content};
use crate::problems;

/// A difference between a response and openapi.json.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// The operation has no such status.
    #[error("the status {0} is not documented for this method and path")]
    Status(StatusCode),
    /// The response has a header that is not documented for it.
    #[error("the header {0} is not documented")]
    Undocumented(HeaderName),
    /// The response lacks a header.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The response has another `Content-Type`.
    #[error("content-type is {found:?}: expected {expected:?}")]
    MediaType {
        /// The expected type; empty if there is no body.
        expected: &'static str,
        /// The type of the response.
        found: String,
    },
    /// The body is not JSON of the contract type.
    #[error("the body is not of its contract type: {0}")]
    Type(#[from] serde_json::Error),
    /// The body is of its contract type, but has other bytes than it.
    #[error("the body differs from its contract type: expected {0}")]
    Bytes(String),
}

/// The headers of a connection, of a body, and of proxies. They are no part of the contract.
const OF_TRANSPORTS: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "server",
    "strict-transport-security",
    "transfer-encoding",
    "x-content-type-options",
];

/// What openapi.json says about a response.
struct Expected {
    headers: &'static [ResponseHeader],
    media_type: &'static str,
    body: ExpectedBody,
}

enum ExpectedBody {
    Empty,
    Json(&'static Body),
    Text(&'static str),
}

/// Checks that a response keeps to openapi.json: the status is one of the operation's, each header is documented and none
/// is missing, and the body equals what its contract type makes of it. `path` may have a query. The body must be
/// decoded already.
///
/// # Errors
/// The first difference.
pub fn verify(
    method: &Method,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Mismatch> {
    let Some(expected) = expected(method, path, status) else {
        // A host may have other paths than those of openapi.json, such as pages. Nothing is known of them.
        let is_documented = ENDPOINTS.iter().any(|endpoint| has_path(endpoint, path));
        return if is_documented { Err(Mismatch::Status(status)) } else { Ok(()) };
    };
    verify_headers(expected.headers, headers)?;
    let found = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    if found != expected.media_type {
        return Err(Mismatch::MediaType { expected: expected.media_type, found: found.to_owned() });
    }
    if method == Method::HEAD { Ok(()) } else { expected.body.verify(body) }
}

/// Checks the body of a 200 to a GET request for `path`.
///
/// # Errors
/// The difference.
pub fn verify_body(path: &str, body: &[u8]) -> Result<(), Mismatch> {
    let expected = expected(&Method::GET, path, StatusCode::OK).ok_or(Mismatch::Status(StatusCode::OK))?;
    expected.body.verify(body)
}

impl ExpectedBody {
    fn verify(&self, body: &[u8]) -> Result<(), Mismatch> {
        let same = match self {
            Self::Empty => Vec::new(),
            Self::Json(contract) => contract.rewrite(body)?,
            Self::Text(text) => text.as_bytes().to_vec(),
        };
        if body == same { Ok(()) } else { Err(Mismatch::Bytes(String::from_utf8_lossy(&same).into_owned())) }
    }
}

fn verify_headers(documented: &[ResponseHeader], headers: &HeaderMap) -> Result<(), Mismatch> {
    let is_documented = |name: &&HeaderName| {
        OF_TRANSPORTS.contains(&name.as_str())
            || documented.iter().any(|header| header.name.eq_ignore_ascii_case(name.as_str()))
    };
    if let Some(other) = headers.keys().find(|name| !is_documented(name)) {
        return Err(Mismatch::Undocumented(other.clone()));
    }
    match documented.iter().find(|header| header.is_required && !headers.contains_key(header.name)) {
        Some(header) => Err(Mismatch::Missing(header.name)),
        None => Ok(()),
    }
}

/// Returns what openapi.json says about the response; `None` if it has no such response.
fn expected(method: &Method, path: &str, status: StatusCode) -> Option<Expected> {
    if method == Method::OPTIONS && status == StatusCode::NO_CONTENT {
        return Some(Expected { headers: PREFLIGHT, media_type: "", body: ExpectedBody::Empty });
    }
    let operation = endpoint(method, path).and_then(|endpoint| operations::by_name(endpoint.name));
    let status = status.as_u16();
    if let Some(reply) =
        operation.and_then(|operation| operation.replies.iter().find(|reply| reply.status == status))
    {
        let (media_type, body) = match &reply.content {
            None => ("", ExpectedBody::Empty),
            Some(Content::Json(body, _)) => ("application/json", ExpectedBody::Json(body)),
            Some(Content::Text(text)) => ("text/plain", ExpectedBody::Text(text)),
        };
        return Some(Expected { headers: reply.headers, media_type, body });
    }
    // A path or a method without an operation has the common problems, and 404.
    let is_problem = operation.map_or_else(
        || status == 404 || problems::COMMON.contains(&status),
        |operation| operation.problems().any(|problem| problem == status),
    );
    let problem = problems::by_status(status).filter(|_| is_problem)?;
    Some(Expected {
        headers: problem.headers,
        media_type: problems::MEDIA_TYPE,
        body: ExpectedBody::Json(&problems::BODY),
    })
}

/// Returns the endpoint of a request. A template without a parameter precedes one that has one.
fn endpoint(method: &Method, path: &str) -> Option<&'static Endpoint> {
    let has_method = |endpoint: &&&Endpoint| match endpoint.method {
        EndpointMethod::Get => [Method::GET, Method::HEAD].contains(method),
        EndpointMethod::Post => *method == Method::POST,
        EndpointMethod::Put => *method == Method::PUT,
        EndpointMethod::Delete => *method == Method::DELETE,
    };
    let found = ENDPOINTS.iter().filter(|endpoint| has_path(endpoint, path)).filter(has_method);
    found.min_by_key(|endpoint| endpoint.parameter().is_some()).copied()
}

fn has_path(endpoint: &Endpoint, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (template, path) = (endpoint.path.split('/'), path.strip_suffix('/').unwrap_or(path).split('/'));
    let is_same =
        |(part, segment): (&str, &str)| part == segment || (part.starts_with('{') && !segment.is_empty());
    template.clone().count() == path.clone().count() && template.zip(path).all(is_same)
}
