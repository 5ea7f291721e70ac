//! From a request to an event in payload format 2.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::RawTarget;

/// What makes the event.
#[derive(Debug, Clone)]
pub enum Source {
    /// API Gateway, which decodes the path and names the route that it matched.
    Api {
        /// `ANY /products/{product_id}` or `$default`.
        route_key: String,
        /// What the route's parameters stand for, decoded.
        path_parameters: Vec<(String, String)>,
    },
    /// A Function URL, which does neither.
    Url,
}

impl Source {
    /// The event of a request.
    pub fn event(&self, request: &Request<Bytes>) -> Value {
        let (path, query) = RawTarget::of(request);
        let (route_key, raw_path, path_parameters) = match self {
            Self::Api { route_key, path_parameters } => {
                let parameters: Map<String, Value> = path_parameters
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone().into()))
                    .collect();
                (route_key.as_str(), decoded(&path), parameters)
            }
            Self::Url => ("$default", path.into_owned(), Map::new()),
        };
        let mut event = json!({
            "version": "2.0",
            "routeKey": route_key,
            "rawPath": raw_path,
            "rawQueryString": query,
            "headers": headers(request),
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "a1b2c3d4e5",
                "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
                "domainPrefix": "a1b2c3d4e5",
                "http": {
                    "method": request.method().as_str(),
                    "path": raw_path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "atelier"
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": route_key,
                "stage": "$default",
                "time": "24/Nov/2026:12:00:00 +0000",
                "timeEpoch": 1_795_521_600_000_i64
            },
            "isBase64Encoded": false
        });
        if !path_parameters.is_empty() {
            event["pathParameters"] = path_parameters.into();
        }
        let cookies = cookies(request);
        if !cookies.is_empty() {
            event["cookies"] = cookies.into();
        }
        if !request.body().is_empty() {
            let text = if has_text(request) { str::from_utf8(request.body()).ok() } else { None };
            event["isBase64Encoded"] = text.is_none().into();
            event["body"] = text.map_or_else(|| STANDARD.encode(request.body()), str::to_owned).into();
        }
        event
    }
}

/// A piece of a path as API Gateway hands it on.
pub(crate) fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Names in lower case, values of the same name joined, without cookies, and with what is added on the way.
fn headers(request: &Request<Bytes>) -> Map<String, Value> {
    let mut headers = Map::new();
    for name in request.headers().keys().filter(|name| *name != header::COOKIE) {
        let values: Vec<_> = request
            .headers()
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        headers.insert(name.as_str().to_owned(), values.join(",").into());
    }
    headers.entry("host").or_insert_with(|| "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com".into());
    for (name, value) in [
        ("content-length", request.body().len().to_string()),
        ("x-amzn-trace-id", "Root=1-6b057c40-bd862e3fe1be46a994272793".to_owned()),
        ("x-forwarded-for", "192.0.2.1".to_owned()),
        ("x-forwarded-port", "443".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
    ] {
        headers.insert(name.to_owned(), value.into());
    }
    headers
}

fn cookies(request: &Request<Bytes>) -> Vec<Value> {
    let lines = request.headers().get_all(header::COOKIE).iter();
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    lines.flat_map(|line| line.split("; ").map(Value::from).collect::<Vec<_>>()).collect()
}

/// Whether a body is handed on as text if it can be.
fn has_text(request: &Request<Bytes>) -> bool {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or("text/plain", |kind| kind.to_str().unwrap_or_default());
    kind.starts_with("text/") || kind.starts_with("application/json")
}
