//! From an event to a request.
//!
//! lambda_http detects which service sent the event and knows its fields: an HTTP API (payload format 2.0) or a Function URL,
//! a REST API (or payload format 1.0), an Application Load Balancer, or VPC Lattice. The request is built here from those
//! fields and not by lambda_http, whose conversion panics at a query with `<` or a bad host, normalises paths, and keeps one
//! of several lines of a header.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{COOKIE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};
use lambda_http::aws_lambda_events::alb::AlbTargetGroupRequest;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::aws_lambda_events::vpc_lattice::VpcLatticeRequestV2;
use lambda_http::request::{LambdaRequest, RequestOrigin};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::{Endpoint, Problem};

/// What may not stand in a query as it is. A `%` may: the query is said to come encoded.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// The same for a decoded name or value of a query.
const DECODED_QUERY: &AsciiSet = &QUERY.add(b'%').add(b'&').add(b'+').add(b'=');

/// What may not stand in a path as it is. What is right in an encoded path stays as it is.
const PATH: &AsciiSet =
    &QUERY.add(b'?').add(b'[').add(b'\\').add(b']').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The parameter of a route such as `ANY /{proxy+}`: the rest of the path.
const PROXY: &str = "proxy";

const NO_REQUEST: Problem = Problem::bad_request(
    "The event is not an HTTP request as API Gateway, a Function URL, an Application Load Balancer or VPC Lattice sends it.",
);
const NO_ADDRESS: Problem =
    Problem::bad_request("The address of the request is longer than any of this service's.");
const NO_BODY: Problem =
    Problem::bad_request("The body of the event is not base64, which isBase64Encoded says it is.");

/// What an event stands for.
pub(crate) struct Event {
    /// What could be read of the request.
    pub(crate) request: http::Request<Bytes>,
    /// The service that sent the event, in whose form the reply has to be.
    pub(crate) origin: RequestOrigin,
    /// Why the request cannot be served.
    pub(crate) refusal: Option<Refusal>,
}

/// Why an event is refused.
pub(crate) struct Refusal {
    /// What the client reads.
    pub(crate) problem: Problem,
    /// What the log says.
    pub(crate) why: String,
}

/// The fields that make a request, wherever a family of events has them.
struct Fields {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Option<String>,
    is_base64_encoded: bool,
}

impl Event {
    /// Reads an event for a function that serves `endpoint`, or none. Nothing in it is relied on.
    pub(crate) fn read(event: &str, endpoint: Option<&Endpoint>) -> Self {
        // The libraries panic at more than 32,768 headers, and at a parameter of a query that has no value.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let read: LambdaRequest = serde_json::from_str(event)?;
            let origin = read.request_origin();
            Ok::<_, serde_json::Error>(fields(read, endpoint).map(|fields| (fields, origin)))
        }));
        let (fields, origin) = match read {
            Ok(Ok(Some(read))) => read,
            Ok(Ok(None)) => return Self::refused(event, Some("it has no method")),
            Ok(Err(_)) => return Self::refused(event, None), // it says the same of all
            Err(_) => {
                return Self::refused(event, Some("it has too many headers, or a parameter without a value"));
            }
        };
        let mut refusal = None;
        let mut refuse = |problem, why: String| refusal = Some(Refusal { problem, why });
        let mut address = fields.path;
        if !fields.query.is_empty() {
            let _ = write!(address, "?{}", fields.query); // a String takes everything
        }
        let uri = match PathAndQuery::try_from(address) {
            Ok(address) => Uri::from(address),
            Err(error) => {
                refuse(NO_ADDRESS, format!("its path and query are no address: {error}"));
                Uri::default()
            }
        };
        let mut body = Bytes::from(fields.body.unwrap_or_default());
        if fields.is_base64_encoded {
            body = STANDARD.decode(&body).map_or_else(
                |error| {
                    refuse(NO_BODY, format!("its body is not base64: {error}"));
                    Bytes::new()
                },
                Bytes::from,
            );
        }
        let mut request = http::Request::new(body);
        *request.method_mut() = fields.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = fields.headers;
        Self { request, origin, refusal }
    }

    /// An event that is no request. The reply goes to the service that seems to have sent it. Without a reason, it is what
    /// that service's form lacks.
    fn refused(text: &str, why: Option<&str>) -> Self {
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        let context = &event["requestContext"];
        let (origin, lack): (_, fn(&str) -> String) = if context["elb"].is_object() {
            (RequestOrigin::Alb, lack::<AlbTargetGroupRequest>)
        } else if context["serviceArn"].is_string() {
            (RequestOrigin::VpcLatticeV2, lack::<VpcLatticeRequestV2>)
        } else if event["httpMethod"].is_string() {
            (RequestOrigin::ApiGatewayV1, lack::<ApiGatewayProxyRequest>)
        } else {
            (RequestOrigin::ApiGatewayV2, lack::<ApiGatewayV2httpRequest>)
        };
        let why = match why {
            Some(why) => why.to_owned(),
            None => format!("it is no event of {origin:?}: {}", lack(text)),
        };
        let refusal = Some(Refusal { problem: NO_REQUEST, why });
        Self { request: http::Request::new(Bytes::new()), origin, refusal }
    }
}

/// What keeps an event from being one of this form, without a value of it: that may be a password.
fn lack<Form: DeserializeOwned>(event: &str) -> String {
    let Err(error) = serde_json::from_str::<Form>(event) else { return "unknown".to_owned() };
    let (text, column) = (error.to_string(), error.column());
    if text.starts_with("missing field") {
        return text;
    }
    format!("{} at column {column}", text.split(':').next().unwrap_or_default())
}

/// The fields of each family; `None` if the event names no method.
fn fields(read: LambdaRequest, endpoint: Option<&Endpoint>) -> Option<Fields> {
    Some(match read {
        LambdaRequest::ApiGatewayV2(event) => {
            let route = event.route_key.as_deref().and_then(|key| key.split_once(' ')).map(|(_, path)| path);
            let path = of_route(route, &event.path_parameters, endpoint)
                .unwrap_or_else(|| without_stage(event.raw_path, event.request_context.stage.as_deref()));
            let mut headers = event.headers;
            if let Some(cookies) = cookies(event.cookies.unwrap_or_default()) {
                let _ = headers.try_append(COOKIE, cookies);
            }
            Fields {
                method: event.request_context.http.method,
                path,
                query: utf8_percent_encode(&event.raw_query_string.unwrap_or_default(), QUERY).to_string(),
                headers: behind_tls(headers),
                body: event.body,
                is_base64_encoded: event.is_base64_encoded,
            }
        }
        LambdaRequest::ApiGatewayV1(event) => {
            let path = of_route(event.resource.as_deref(), &event.path_parameters, endpoint)
                .unwrap_or_else(|| without_stage(event.path, event.request_context.stage.as_deref()));
            Fields {
                method: event.http_method,
                path,
                query: query(
                    &event.multi_value_query_string_parameters,
                    &event.query_string_parameters,
                    DECODED_QUERY,
                ),
                headers: behind_tls(multiple_or_single(event.multi_value_headers, event.headers)),
                body: event.body,
                is_base64_encoded: event.is_base64_encoded,
            }
        }
        LambdaRequest::Alb(event) => Fields {
            method: event.http_method,
            path: encoded(&event.path.unwrap_or_default()),
            query: query(&event.multi_value_query_string_parameters, &event.query_string_parameters, QUERY),
            headers: multiple_or_single(event.multi_value_headers, event.headers),
            body: event.body,
            is_base64_encoded: event.is_base64_encoded,
        },
        LambdaRequest::VpcLatticeV2(event) => {
            let path = event.path.unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            Fields {
                method: event.method?,
                path: encoded(path),
                query: query(&event.query_string_parameters, &QueryMap::default(), QUERY),
                headers: event.headers,
                body: event.body,
                is_base64_encoded: event.is_base64_encoded,
            }
        }
        _ => return None,
    })
}

/// The path of an event whose route was matched: the endpoint's own, with the parameter that was found there, or what stood
/// in place of `{proxy+}`, after the part of the endpoint's path that the route has before it. The raw path may be decoded,
/// and have the name of a stage or a mapping before it.
fn of_route(
    route: Option<&str>,
    parameters: &HashMap<String, String>,
    endpoint: Option<&Endpoint>,
) -> Option<String> {
    let route = route.map(|route| route.strip_suffix('/').unwrap_or(route))?;
    let found = |name: &str| parameters.get(name).map_or("", String::as_str);
    if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.path == route) {
        return Some(endpoint.path_with(&encoded_segment(endpoint.parameter().map_or("", found))));
    }
    let before = route.strip_suffix("{proxy+}")?;
    let segments: Vec<String> = found(PROXY).split('/').map(encoded_segment).collect();
    let rest = segments.join("/");
    let before = endpoint.filter(|endpoint| endpoint.path.starts_with(before)).map_or_else(
        || "/".to_owned(), // a base path, which is no part of any endpoint's
        |endpoint| match endpoint.parameter() {
            Some(name) => before.replace(&format!("{{{name}}}"), &encoded_segment(found(name))),
            None => before.to_owned(),
        },
    );
    Some(format!("{before}{}", rest.trim_start_matches('/')))
}

/// Encoded again, a slash that was decoded stays within its segment.
fn encoded_segment(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// A raw path, which some services decode and others do not.
fn encoded(path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{}", utf8_percent_encode(path, PATH))
}

/// A raw path of API Gateway without the stage that is put before it, unless it is `$default`.
fn without_stage(path: Option<String>, stage: Option<&str>) -> String {
    let path = path.unwrap_or_default();
    let stage = stage.filter(|stage| *stage != "$default");
    let rest = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    encoded(rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&path))
}

/// A query of the parameters that an event lists, those with several values before those with one.
fn query(multiple: &QueryMap, single: &QueryMap, encode: &'static AsciiSet) -> String {
    let mut query = String::new();
    for (name, value) in if multiple.is_empty() { single } else { multiple }.iter() {
        let and = if query.is_empty() { "" } else { "&" };
        let (name, value) = (utf8_percent_encode(name, encode), utf8_percent_encode(value, encode));
        let _ = write!(query, "{and}{name}={value}"); // a String takes everything
    }
    query
}

/// Where headers come twice, once with all their values, those are all of them.
fn multiple_or_single(multiple: HeaderMap, single: HeaderMap) -> HeaderMap {
    if multiple.is_empty() { single } else { multiple }
}

/// Neither API Gateway nor a Function URL speaks anything but TLS.
fn behind_tls(mut headers: HeaderMap) -> HeaderMap {
    let _ = headers.try_insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers
}

/// The cookies of an event in one header. One that can be no header must not take the others along.
fn cookies(mut cookies: Vec<String>) -> Option<HeaderValue> {
    cookies.retain(|cookie| HeaderValue::from_str(cookie).is_ok());
    if cookies.is_empty() { None } else { HeaderValue::from_str(&cookies.join("; ")).ok() }
}

#[cfg(test)]
mod tests;
