//! From a response to what API Gateway and Function URLs make one of again (payload format 2.0).

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, SET_COOKIE};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// A response in payload format 2.0.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    status_code: u16,
    headers: BTreeMap<&'a str, String>,
    cookies: Vec<Cow<'a, str>>,
    /// Base64 for what is coded, or is no text.
    body: Cow<'a, str>,
    is_base64_encoded: bool,
}

/// The JSON that stands for a response.
pub(crate) fn of(response: &http::Response<Bytes>) -> serde_json::Result<Box<RawValue>> {
    let (mut headers, mut cookies) = (BTreeMap::<_, String>::new(), Vec::new());
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        if name == SET_COOKIE {
            cookies.push(value); // two cookies cannot share a line
            continue;
        }
        let all = headers.entry(name.as_str()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    let is_coded = response.headers().contains_key(CONTENT_ENCODING);
    let text = if is_coded { None } else { str::from_utf8(response.body()).ok() };
    to_raw_value(&Reply {
        status_code: response.status().as_u16(),
        headers,
        cookies,
        is_base64_encoded: text.is_none(),
        body: text.map_or_else(|| STANDARD.encode(response.body()).into(), Cow::from),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reply(response: &http::Response<Bytes>) -> Value {
        serde_json::from_str(of(response).unwrap().get()).unwrap()
    }

    #[test]
    fn text_is_sent_as_it_is_and_everything_else_as_base64() {
        let response = http::Response::builder().status(201).header("etag", "W/\"1\"");
        let response = response.body(Bytes::from_static("\"é\"\n".as_bytes())).unwrap();
        let expected = json!({ "statusCode": 201, "headers": { "etag": "W/\"1\"" }, "cookies": [], "body": "\"é\"\n",
            "isBase64Encoded": false });
        assert_eq!(reply(&response), expected);
        let coded =
            http::Response::builder().header("content-encoding", "gzip").body(Bytes::from_static(b"text"));
        let binary = http::Response::new(Bytes::from_static(b"\xff\x00"));
        for (response, body) in [(coded.unwrap(), "dGV4dA=="), (binary, "/wA=")] {
            let reply = reply(&response);
            assert_eq!((&reply["body"], &reply["isBase64Encoded"]), (&json!(body), &json!(true)));
        }
    }

    #[test]
    fn lines_of_a_header_are_joined_and_cookies_are_not() {
        let response = http::Response::builder().header("vary", "a").header("vary", "b");
        let response =
            response.header("set-cookie", "c=1; Path=/").header("set-cookie", "d=2").body(Bytes::new());
        let reply = reply(&response.unwrap());
        assert_eq!(reply["headers"], json!({ "vary": "a, b" }));
        assert_eq!(reply["cookies"], json!(["c=1; Path=/", "d=2"]));
    }
}
