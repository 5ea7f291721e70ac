//! From a function's reply to a response.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::Outcome;

/// The response that a reply in payload format 2.0 stands for. What is no such reply becomes a 500, and what came too
/// late a 503, as API Gateway has them.
pub fn response(outcome: &Outcome) -> Response<Bytes> {
    match outcome {
        Outcome::Reply(reply) => {
            from_reply(reply).unwrap_or_else(|| gateway_s_own(500, "Internal Server Error"))
        }
        Outcome::Error(_) => gateway_s_own(500, "Internal Server Error"),
        Outcome::TimedOut => gateway_s_own(503, "Service Unavailable"),
    }
}

/// What API Gateway says by itself: without any of the headers that are promised of every answer.
pub(crate) fn gateway_s_own(status: u16, message: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "message": message }).to_string();
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

fn from_reply(reply: &[u8]) -> Option<Response<Bytes>> {
    let reply: Value = serde_json::from_slice(reply).ok()?;
    let mut response = Response::builder().status(u16::try_from(reply["statusCode"].as_u64()?).ok()?);
    for (name, value) in reply["headers"].as_object()? {
        let name = HeaderName::try_from(name).ok()?;
        response = response.header(name, HeaderValue::from_str(value.as_str()?).ok()?);
    }
    for cookie in reply["cookies"].as_array().into_iter().flatten() {
        response = response.header(header::SET_COOKIE, HeaderValue::from_str(cookie.as_str()?).ok()?);
    }
    let body = reply["body"].as_str().unwrap_or_default();
    let body =
        if reply["isBase64Encoded"] == true { STANDARD.decode(body).ok()? } else { body.as_bytes().to_vec() };
    let mut response = response.body(Bytes::from(body)).ok()?;
    // API Gateway says how long a body is.
    let length = response.body().len();
    let is_bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    if !is_bare && !response.headers().contains_key(header::CONTENT_LENGTH) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Some(response)
}
