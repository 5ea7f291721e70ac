//! Problems: error responses (RFC 9457), with a cause for the log.

use http::StatusCode;
use serde::Serialize;

use crate::database::{self, Kind};

/// An error response. The client reads fixed text, so that it learns nothing about the service or other clients. The
/// cause goes to the log.
#[derive(Debug)]
pub struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: &'static str,
    pub(crate) allow: Option<&'static str>,
    /// Whether the service sheds load.
    pub(crate) is_shed: bool,
    pub(crate) cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The `Retry-After` of a 503, in seconds.
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
        Self { status, detail, allow: None, is_shed: false, cause: None }
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub const fn bad_request(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: the resource does not exist.
    #[must_use]
    pub const fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404: no product has this id.
    #[must_use]
    pub const fn no_such_product() -> Self {
        Self::not_found("There is no product with this id.")
    }

    /// 422: the catalog has no sku with this id.
    #[must_use]
    pub const fn no_such_sku() -> Self {
        Self::unprocessable("There is no sku with this id.")
    }

    /// 405: the path does not support the method; `allow` lists those that it supports.
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

    /// 415: the body has another media type than the expected one.
    #[must_use]
    pub const fn unsupported_media_type(detail: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 422: the request is well-formed but cannot be carried out.
    #[must_use]
    pub const fn unprocessable(detail: &'static str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 431: too many headers, or too many bytes of headers.
    #[must_use]
    pub const fn headers_too_large() -> Self {
        let detail = "A request has at most 100 headers, of at most 8 KiB each and 32 KiB together.";
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    }

    /// 501: the body has a transfer coding other than `chunked`.
    #[must_use]
    pub const fn transfer_coding_unknown() -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "This coding of a request's body is not known here.")
    }

    /// 505: the host does not support this version of HTTP.
    #[must_use]
    pub const fn version_not_supported() -> Self {
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "The service speaks HTTP/1.0, HTTP/1.1 and HTTP/2.")
    }

    /// 503 with `Retry-After`: temporarily unavailable.
    #[must_use]
    pub const fn unavailable(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 503 with `Retry-After` for an unexpected error; `cause` goes to the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::unavailable("The service cannot answer this just now.") }
    }

    /// 500: a handler panicked, which is a bug.
    pub(crate) const fn panic() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The service failed. The fault has been logged.")
    }

    /// Returns the JSON body.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = Body {
            r#type: "about:blank",
            title,
            status: self.status.as_u16(),
            detail: self.detail,
            request_id,
        };
        serde_json::to_vec(&body).unwrap_or_default() // strings and a number always serialize
    }
}

impl From<database::Error> for Problem {
    fn from(error: database::Error) -> Self {
        match error.kind() {
            // The task that connects has logged the cause.
            Kind::Unreachable => Self::unavailable("The database cannot be reached just now."),
            Kind::NoCatalog => Self::unavailable("No catalog has been published yet."),
            Kind::EarlierRelease => Self::unavailable("No catalog of this release has been published yet."),
            Kind::Changed => Self::unavailable("The catalog has just changed. Send the request again."),
            Kind::Timeout => Self::unavailable("The database took too long to answer."),
            Kind::Overloaded => {
                let detail = "The service has too many requests just now.";
                Self { is_shed: true, ..Self::unavailable(detail) }
            }
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
    fn a_problem_hides_the_error_of_the_database() {
        let cause = database::Error::internal("relation \"x\" at 10.0.0.7");
        let problem = Problem::from(cause);
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        let body = String::from_utf8(problem.body("1")).unwrap();
        assert!(!body.contains("relation"), "{body}");
        assert!(problem.cause.is_some());
    }
}
