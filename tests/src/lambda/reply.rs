//! The response that each AWS service makes of a function's reply.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::{Outcome, Source};

/// The place of headers in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `headers` with one line each, and `cookies`.
    Format2,
    /// `multiValueHeaders`.
    Format1,
    /// `multiValueHeaders`, and a `statusDescription` that begins with the status.
    Alb,
    /// `headers` with one line each.
    Lattice,
}

/// Returns the response that an HTTP API makes of a reply in payload format 2.0.
pub fn response(outcome: &Outcome) -> Response<Bytes> {
    read(outcome, Form::Format2)
}

impl Source {
    /// Returns the response that this service makes of a reply. An invalid reply becomes 500 or 502, and a timeout 503,
    /// as with API Gateway.
    pub fn response(&self, outcome: &Outcome) -> Response<Bytes> {
        let form = match self {
            Self::HttpApi(_) | Self::Url => Form::Format2,
            Self::HttpApiFormat1(_) | Self::RestApi(_) => Form::Format1,
            Self::Alb => Form::Alb,
            Self::Lattice => Form::Lattice,
        };
        read(outcome, form)
    }
}

fn read(outcome: &Outcome, form: Form) -> Response<Bytes> {
    match outcome {
        Outcome::Reply(reply) => {
            from_reply(reply, form).unwrap_or_else(|| gateway_error(502, "Internal Server Error"))
        }
        Outcome::Error(_) => gateway_error(500, "Internal Server Error"),
        Outcome::TimedOut => gateway_error(503, "Service Unavailable"),
    }
}

/// Returns an error of API Gateway itself, without the headers that every response of the service has.
pub(crate) fn gateway_error(status: u16, message: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "message": message }).to_string();
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

fn from_reply(reply: &[u8], form: Form) -> Option<Response<Bytes>> {
    let reply: Value = serde_json::from_slice(reply).ok()?;
    let status = u16::try_from(reply["statusCode"].as_u64()?).ok()?;
    if form == Form::Alb && !reply["statusDescription"].as_str()?.starts_with(&format!("{status} ")) {
        return None;
    }
    let mut response = Response::builder().status(status);
    let in_lists = matches!(form, Form::Format1 | Form::Alb);
    let headers = &reply[if in_lists { "multiValueHeaders" } else { "headers" }];
    for (name, value) in headers.as_object()? {
        let name = HeaderName::try_from(name).ok()?;
        let lines = if in_lists { value.as_array()?.iter().collect() } else { vec![value] };
        for line in lines {
            response = response.header(&name, HeaderValue::from_str(line.as_str()?).ok()?);
        }
    }
    if form == Form::Format2 {
        for cookie in reply["cookies"].as_array().into_iter().flatten() {
            response = response.header(header::SET_COOKIE, HeaderValue::from_str(cookie.as_str()?).ok()?);
        }
    }
    let body = reply["body"].as_str().unwrap_or_default();
    let body =
        if reply["isBase64Encoded"] == true { STANDARD.decode(body).ok()? } else { body.as_bytes().to_vec() };
    let mut response = response.body(Bytes::from(body)).ok()?;
    // The service sets the content length itself.
    let length = response.body().len();
    let is_bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    if !is_bare && !response.headers().contains_key(header::CONTENT_LENGTH) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Some(response)
}
