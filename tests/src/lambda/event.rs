//! The events that each AWS service makes of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::RawTarget;

/// An AWS service that makes an event of a request.
#[derive(Debug, Clone)]
pub enum Source {
    /// An HTTP API in payload format 2.0, which decodes the path and names the route that it matched.
    HttpApi(Matched),
    /// An HTTP API in payload format 1.0, which has the same fields as a REST API.
    HttpApiFormat1(Matched),
    /// A REST API: a resource for each path, or `/{proxy+}`.
    RestApi(Matched),
    /// A Function URL, which neither decodes nor matches anything.
    Url,
    /// An Application Load Balancer with multi-value headers.
    Alb,
    /// VPC Lattice, in version 2 of its events.
    Lattice,
}

/// The route that an API of API Gateway has matched.
#[derive(Debug, Clone)]
pub struct Matched {
    /// `ANY /products/{product_id}` or `$default`. The events of a REST API have only the path.
    pub route_key: String,
    /// The values of the route's parameters, decoded.
    pub path_parameters: Vec<(String, String)>,
    /// The stage, which is part of some paths unless it is `$default`.
    pub stage: &'static str,
    /// The base path of a custom domain, which precedes the path that a client sends: `/shop`, or empty.
    pub base_path: &'static str,
}

impl Matched {
    /// Returns a match on the stage `$default`, without a base path.
    pub fn by_default(route_key: &str, path_parameters: Vec<(String, String)>) -> Self {
        Self { route_key: route_key.to_owned(), path_parameters, stage: "$default", base_path: "" }
    }

    fn parameters(&self) -> Value {
        let parameters: Map<String, Value> =
            self.path_parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        if parameters.is_empty() { Value::Null } else { parameters.into() }
    }

    fn resource(&self) -> &str {
        self.route_key.split_once(' ').map_or(self.route_key.as_str(), |(_, path)| path)
    }

    /// Returns the prefix of raw paths that include the stage.
    fn stage_path(&self) -> String {
        if self.stage == "$default" { String::new() } else { format!("/{}", self.stage) }
    }
}

impl Source {
    /// Returns the event of a request.
    pub fn event(&self, request: &Request<Bytes>) -> Value {
        let (path, query) = RawTarget::of(request);
        let mut event = match self {
            Self::HttpApi(matched) => {
                let raw_path = [&matched.stage_path(), matched.base_path, &decoded(&path)].concat();
                format_2(request, &matched.route_key, &raw_path, &query, matched)
            }
            Self::Url => {
                format_2(request, "$default", &path, &query, &Matched::by_default("$default", Vec::new()))
            }
            // The path includes the stage in a format 1.0 event of an HTTP API, but not in an event of a REST API.
            Self::HttpApiFormat1(matched) => format_1(
                request,
                &[&matched.stage_path(), matched.base_path, &decoded(&path)].concat(),
                &query,
                matched,
            ),
            Self::RestApi(matched) => {
                format_1(request, &[matched.base_path, &decoded(&path)].concat(), &query, matched)
            }
            Self::Alb => json!({
                "requestContext": {
                    "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/atelier/1" }
                },
                "httpMethod": request.method().as_str(),
                "path": path,
                "multiValueQueryStringParameters": pairs(&query, false),
                "multiValueHeaders": multiple(&forwarded(request)),
            }),
            Self::Lattice => json!({
                "version": "2.0",
                "path": path,
                "method": request.method().as_str(),
                "headers": multiple(&forwarded(request)),
                "queryStringParameters": pairs(&query, false),
                "requestContext": {
                    "serviceNetworkArn": "arn:aws:vpc-lattice:eu-central-1:123456789012:servicenetwork/sn-1",
                    "serviceArn": "arn:aws:vpc-lattice:eu-central-1:123456789012:service/svc-1",
                    "targetGroupArn": "arn:aws:vpc-lattice:eu-central-1:123456789012:targetgroup/tg-1",
                    "identity": { "sourceVpcArn": "arn:aws:ec2:eu-central-1:123456789012:vpc/vpc-1" },
                    "region": "eu-central-1",
                    "timeEpoch": "1795521600000000"
                }
            }),
        };
        let text = if has_text(request) { str::from_utf8(request.body()).ok() } else { None };
        event["isBase64Encoded"] = (!request.body().is_empty() && text.is_none()).into();
        event["body"] = match text {
            _ if request.body().is_empty() => Value::Null,
            Some(text) => text.into(),
            None => STANDARD.encode(request.body()).into(),
        };
        event
    }
}

fn format_2(
    request: &Request<Bytes>,
    route_key: &str,
    raw_path: &str,
    query: &str,
    matched: &Matched,
) -> Value {
    let mut headers = Map::new();
    let all = forwarded(request);
    for name in all.keys().filter(|name| *name != header::COOKIE) {
        headers.insert(name.as_str().to_owned(), values(&all, name).join(",").into());
    }
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": headers,
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
            "stage": matched.stage,
            "time": "24/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_521_600_000_i64
        }
    });
    let parameters = matched.parameters();
    if !parameters.is_null() {
        event["pathParameters"] = parameters;
    }
    let cookies: Vec<Value> =
        values(&all, &header::COOKIE).iter().flat_map(|line| line.split("; ").map(Value::from)).collect();
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    event
}

/// Returns a format 1.0 event, which has parameters and headers twice: with all values, and with the last one.
fn format_1(request: &Request<Bytes>, path: &str, query: &str, matched: &Matched) -> Value {
    let headers = multiple(&forwarded(request));
    let parameters = pairs(query, true);
    let stage = if path.starts_with(&matched.stage_path()) { String::new() } else { matched.stage_path() };
    let staged_path = [&stage, path].concat();
    json!({
        "version": "1.0",
        "resource": matched.resource(),
        "path": path,
        "httpMethod": request.method().as_str(),
        "headers": last(&headers),
        "multiValueHeaders": headers,
        "queryStringParameters": last(&parameters),
        "multiValueQueryStringParameters": parameters,
        "pathParameters": matched.parameters(),
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "a1b2c3d4e5",
            "extendedRequestId": "JKJaXmPLvHcESHA=",
            "httpMethod": request.method().as_str(),
            "identity": { "sourceIp": "192.0.2.1", "userAgent": "atelier" },
            "path": staged_path,
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "requestTime": "24/Nov/2026:12:00:00 +0000",
            "requestTimeEpoch": 1_795_521_600_000_i64,
            "resourceId": "123456",
            "resourcePath": matched.resource(),
            "stage": matched.stage
        }
    })
}

/// Returns a part of a path, decoded as API Gateway does it.
pub(crate) fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Returns a query as lists of values by name. For API Gateway it is decoded, and `null` if it is empty.
fn pairs(query: &str, is_decoded: bool) -> Value {
    let mut pairs: Map<String, Value> = Map::new();
    let part = |part: &str| if is_decoded { decoded(&part.replace('+', " ")) } else { part.to_owned() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let values = pairs.entry(part(name)).or_insert_with(|| json!([]));
        values.as_array_mut().unwrap().push(part(value).into());
    }
    if pairs.is_empty() && is_decoded { Value::Null } else { pairs.into() }
}

/// Returns the last value of each list.
fn last(all: &Value) -> Value {
    let Some(all) = all.as_object() else { return Value::Null };
    let last = |(name, values): (&String, &Value)| Some((name.clone(), values.as_array()?.last()?.clone()));
    all.iter().filter_map(last).collect::<Map<_, _>>().into()
}

fn multiple(headers: &HeaderMap) -> Value {
    headers
        .keys()
        .map(|name| (name.as_str().to_owned(), values(headers, name).into()))
        .collect::<Map<_, _>>()
        .into()
}

fn values(headers: &HeaderMap, name: &header::HeaderName) -> Vec<String> {
    let all = headers.get_all(name).iter();
    all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// Returns the headers of a request with those that the service adds.
fn forwarded(request: &Request<Bytes>) -> HeaderMap {
    let mut headers = request.headers().clone();
    let host = "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com".parse().unwrap();
    headers.entry(header::HOST).or_insert(host);
    for (name, value) in [
        ("content-length", request.body().len().to_string()),
        ("x-amzn-trace-id", "Root=1-6b057c40-bd862e3fe1be46a994272793".to_owned()),
        ("x-forwarded-for", "192.0.2.1".to_owned()),
        ("x-forwarded-port", "443".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

/// Returns whether the service passes a body on as text, provided that it is UTF-8.
fn has_text(request: &Request<Bytes>) -> bool {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or("text/plain", |kind| kind.to_str().unwrap_or_default());
    kind.starts_with("text/") || kind.starts_with("application/json")
}
