//! Converts a response into the reply for the service that sent the event, through lambda_http.

use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap, SET_COOKIE};
use http::{HeaderValue, Response};
use lambda_http::request::RequestOrigin;
use lambda_http::{Body, TransformResponse};
use serde_json::value::{RawValue, to_raw_value};

/// Max bytes of a reply that Lambda accepts:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const MAX_BYTES: usize = 6_291_556;

/// Max bytes of a reply that an Application Load Balancer accepts:
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>.
const MAX_ALB_BYTES: usize = 1024 * 1024;

/// Returns the max bytes of a reply to a service.
pub(crate) fn max_bytes(origin: &RequestOrigin) -> usize {
    match origin {
        RequestOrigin::Alb => MAX_ALB_BYTES,
        _ => MAX_BYTES,
    }
}

/// Returns the JSON reply for a response.
pub(crate) async fn reply(
    origin: &RequestOrigin,
    response: &Response<Bytes>,
) -> serde_json::Result<Box<RawValue>> {
    let is_encoded = response.headers().contains_key(CONTENT_ENCODING);
    let text = if is_encoded { None } else { str::from_utf8(response.body()).ok() };
    // An encoded or binary body becomes base64.
    let body =
        text.map_or_else(|| Body::Binary(response.body().to_vec()), |text| Body::Text(text.to_owned()));
    let mut converted = Response::new(body);
    *converted.status_mut() = response.status();
    *converted.headers_mut() = joined(response.headers());
    // lambda_http converts a handler's response in the same way, but detects binary bodies by their headers.
    let converting =
        TransformResponse::<'_, String, Infallible>::Response(origin.clone(), Box::pin(ready(converted)));
    let Ok(reply) = converting.await;
    to_raw_value(&reply)
}

/// Returns the headers with one line per name, because some forms of a reply allow only one. Cookies keep separate
/// lines.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::with_capacity(headers.len());
    for name in headers.keys() {
        let lines = || headers.get_all(name).iter();
        if *name == SET_COOKIE || lines().nth(1).is_none() {
            lines().for_each(|line| {
                joined.append(name, line.clone());
            });
        } else if let Ok(line) =
            HeaderValue::from_bytes(&lines().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]))
        {
            joined.append(name, line);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn reply_to(
        origin: RequestOrigin,
        response: http::response::Builder,
        body: &'static [u8],
    ) -> Value {
        let response = response.body(Bytes::from_static(body)).unwrap();
        serde_json::from_str(reply(&origin, &response).await.unwrap().get()).unwrap()
    }

    #[tokio::test]
    async fn text_stays_text_and_every_other_body_becomes_base64() {
        for origin in [
            RequestOrigin::ApiGatewayV2,
            RequestOrigin::ApiGatewayV1,
            RequestOrigin::Alb,
            RequestOrigin::VpcLatticeV2,
        ] {
            let text = reply_to(origin.clone(), Response::builder().status(201), "\"é\"\n".as_bytes()).await;
            assert_eq!((&text["statusCode"], &text["body"]), (&json!(201), &json!("\"é\"\n")), "{origin:?}");
            assert_eq!(text["isBase64Encoded"], false, "{origin:?}");
            let coded = Response::builder().header("content-encoding", "gzip");
            let coded = reply_to(origin.clone(), coded, b"text").await;
            let binary = reply_to(origin.clone(), Response::builder(), b"\xff\x00").await;
            for (reply, body) in [(coded, "dGV4dA=="), (binary, "/wA=")] {
                assert_eq!(
                    (&reply["body"], &reply["isBase64Encoded"]),
                    (&json!(body), &json!(true)),
                    "{origin:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn lines_of_a_header_are_joined_except_cookies() {
        let response = || {
            let response = Response::builder().header("vary", "a").header("vary", "b");
            response.header("set-cookie", "c=1; Path=/").header("set-cookie", "d=2")
        };
        let cookies = json!(["c=1; Path=/", "d=2"]);
        let format_2 = reply_to(RequestOrigin::ApiGatewayV2, response(), b"").await;
        assert_eq!((&format_2["headers"], &format_2["cookies"]), (&json!({ "vary": "a, b" }), &cookies));
        for origin in [RequestOrigin::ApiGatewayV1, RequestOrigin::Alb] {
            let reply = reply_to(origin, response(), b"").await;
            assert_eq!(reply["multiValueHeaders"], json!({ "vary": ["a, b"], "set-cookie": cookies }));
        }
        let alb = reply_to(RequestOrigin::Alb, response(), b"").await;
        assert_eq!(alb["statusDescription"], "200 OK");
        let lattice = reply_to(RequestOrigin::VpcLatticeV2, response(), b"").await;
        assert_eq!(lattice["headers"]["vary"], "a, b");
    }
}
