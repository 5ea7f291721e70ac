//! What went wrong, as the client is statuses (RFC 9457) and as the log is.

use http::StatusCode;
use serde::Serialize;

use crate::database::{self, Kind};

/// A refusal or a failure: never a success. What the client reads is fixed text, so that nothing of ours or
/// of another client's gets out; what we need to know goes to the log as the cause.
#[derive(Debug)]
pub struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: &'static str,
    pub(crate) allow: Option<&'static str>,
    pub(crate) cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// After how many seconds it is worth asking again.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'static str,
    request_id: &'a str,
}

impl Problem {
    const fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, allow: None, cause: None }
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub const fn bad_request(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: what is asked for does not exist.
    #[must_use]
    pub const fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404: there is no product with the id.
    #[must_use]
    pub const fn no_such_product() -> Self {
        Self::not_found("There is no product with this id.")
    }

    /// 405: the path exists, but not for this method; `allow` lists those it has.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = "This path does not have this method; Allow lists those it has.";
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub const fn body_too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "The body of the request did not arrive in time.")
    }

    /// 413: the body is over [`crate::http::request::MAX_BODY_BYTES`].
    #[must_use]
    pub const fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The body of a request has at most 1024 bytes.")
    }

    /// 414: the path and the query are too long.
    #[must_use]
    pub const fn address_too_long() -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "The path and query of a request have at most 8 KiB.")
    }

    /// 415: the body is of another type than the one expected.
    #[must_use]
    pub const fn unsupported_media_type(detail: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 422: the request is understood and cannot be carried out.
    #[must_use]
    pub const fn unprocessable(detail: &'static str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 431: more headers than a client may send, or more bytes of them.
    #[must_use]
    pub const fn headers_too_large() -> Self {
        let detail = "A request has at most 100 headers, of at most 8 KiB each and 32 KiB together.";
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    }

    /// 501: the body is in a transfer coding other than `chunked`.
    #[must_use]
    pub const fn transfer_coding_unknown() -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "This coding of a request's body is not known here.")
    }

    /// 505: a version of HTTP that the host does not speak.
    #[must_use]
    pub const fn version_not_supported() -> Self {
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "The service speaks HTTP/1.0, HTTP/1.1 and HTTP/2.")
    }

    /// 503 with `Retry-After`: not now.
    #[must_use]
    pub const fn unavailable(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 503 with `Retry-After` for what was not foreseen; the cause is for the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::unavailable("The service cannot answer this just now.") }
    }

    /// 500: a handler panicked, which is a fault of ours.
    pub(crate) const fn panic() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The service failed. The fault has been logged.")
    }

    /// The JSON that the client reads.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = Body {
            r#type: "about:blank",
            title,
            status: self.status.as_u16(),
            detail: self.detail,
            request_id,
        };
        serde_json::to_vec(&body).unwrap_or_default() // strings and a number always serialise
    }
}

impl From<database::Error> for Problem {
    fn from(error: database::Error) -> Self {
        match error.kind() {
            // The connection's own task has logged it.
            Kind::Unreachable => Self::unavailable("The database cannot be reached just now."),
            Kind::NoCatalog => Self::unavailable("No catalog has been published yet."),
            Kind::Timeout => Self::unavailable("The database took too long to answer."),
            Kind::Overloaded => Self::unavailable("Too many requests wait for the database just now."),
            Kind::Internal => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_five_members_of_the_contract() {
        let body = Problem::no_such_product().body("abc-1");
        let expected = r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"There is no product with this id.","request_id":"abc-1"}"#;
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn what_the_database_said_is_not_told() {
        let cause = database::Error::internal("relation \"x\" at 10.0.0.7");
        let problem = Problem::from(cause);
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        let statuses = String::from_utf8(problem.body("1")).unwrap();
        assert!(!statuses.contains("relation"), "{statuses}");
        assert!(problem.cause.is_some());
    }
}
