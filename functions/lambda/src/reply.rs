//! From a response to what API Gateway and Function URLs make one of again (payload format 2.0).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, SET_COOKIE};
use serde::Serialize;

/// A response in payload format 2.0.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reply {
    status_code: u16,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    /// Base64 for what is coded, or is no text.
    body: String,
    is_base64_encoded: bool,
}

impl From<http::Response<Bytes>> for Reply {
    fn from(response: http::Response<Bytes>) -> Self {
        let (parts, body) = response.into_parts();
        let (mut headers, mut cookies) = (BTreeMap::new(), Vec::new());
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            if name == SET_COOKIE {
                cookies.push(value.into_owned()); // two cookies cannot share a line
                continue;
            }
            let all: &mut String = headers.entry(name.as_str().to_owned()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&value);
        }
        let text =
            if parts.headers.contains_key(CONTENT_ENCODING) { None } else { str::from_utf8(&body).ok() };
        let is_base64_encoded = text.is_none();
        let body = text.map_or_else(|| STANDARD.encode(&body), str::to_owned);
        Self { status_code: parts.status.as_u16(), headers, cookies, body, is_base64_encoded }
    }
}
