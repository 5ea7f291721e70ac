//! Builds a request from an event.
//!
//! lambda_http detects which service sent the event and knows its fields: an HTTP API (payload format 2.0) or a Function URL,
//! a REST API (or payload format 1.0), an Application Load Balancer, or VPC Lattice. The request is built here from those
//! fields and not by lambda_http, whose conversion panics at a query with `<` or a bad host, normalises paths, and keeps
//! only one value of a repeated header.

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

/// Characters that are encoded in a raw query. It is encoded already, so `%` is not among them.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// Characters that are encoded in a decoded name or value of a query.
const DECODED_QUERY: &AsciiSet = &QUERY.add(b'%').add(b'&').add(b'+').add(b'=');

/// Characters that are encoded in a raw path: those that an encoded path cannot contain.
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

/// A parsed event.
pub(crate) struct Event {
    /// The request, or an empty one with a refusal.
    pub(crate) request: http::Request<Bytes>,
    /// The service that sent the event, and whose reply format is used.
    pub(crate) origin: RequestOrigin,
    /// Why the request is refused.
    pub(crate) refusal: Option<Refusal>,
}

/// Why an event is refused.
pub(crate) struct Refusal {
    /// The response to the client.
    pub(crate) problem: Problem,
    /// The reason, for the log. It contains no value of the event.
    pub(crate) why: String,
}

/// The fields of a request, which each family of events has in other places.
struct Fields {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Option<String>,
    is_base64_encoded: bool,
}

impl Event {
    /// Reads an event for a function that serves `endpoint`, or no endpoint. Any text is possible.
    pub(crate) fn read(event: &str, endpoint: Option<&Endpoint>) -> Self {
        // The libraries panic on more than 32,768 headers, and on a query parameter without a value.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let read: LambdaRequest = serde_json::from_str(event)?;
            let origin = read.request_origin();
            Ok::<_, serde_json::Error>(fields(read, endpoint).map(|fields| (fields, origin)))
        }));
        let (fields, origin) = match read {
            Ok(Ok(Some(read))) => read,
            Ok(Ok(None)) => return Self::refused(event, Some("it has no method")),
            Ok(Err(_)) => return Self::refused(event, None), // the error is the same for all families
            Err(_) => {
                return Self::refused(event, Some("it has too many headers, or a parameter without a value"));
            }
        };
        let mut refusal = None;
        let mut refuse = |problem, why: String| refusal = Some(Refusal { problem, why });
        let mut address = fields.path;
        if !fields.query.is_empty() {
            let _ = write!(address, "?{}", fields.query); // writing to a String never fails
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

    /// Rejects an event that is not a request, in the format of the service that seems to have sent it. The default reason is
    /// what that service's format requires and the event lacks.
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

/// Returns why an event cannot be parsed as this form, without any of its values: one may be a password.
fn lack<Form: DeserializeOwned>(event: &str) -> String {
    let Err(error) = serde_json::from_str::<Form>(event) else { return "unknown".to_owned() };
    let (text, column) = (error.to_string(), error.column());
    if text.starts_with("missing field") {
        return text;
    }
    format!("{} at column {column}", text.split(':').next().unwrap_or_default())
}

/// Returns the fields of an event; `None` if it has no method.
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

/// Returns the path of an event whose route was matched: the endpoint's own with the parameter that API Gateway found, or
/// the value of `{proxy+}` after the part of the endpoint's path that the route has before it. The raw path may be decoded,
/// and may begin with a stage or a base path.
fn of_route(
    route: Option<&str>,
    parameters: &HashMap<String, String>,
    endpoint: Option<&Endpoint>,
) -> Option<String> {
    let route = route.map(|route| route.strip_suffix('/').unwrap_or(route))?;
    let value = |name: &str| parameters.get(name).map_or("", String::as_str);
    if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.path == route) {
        return Some(endpoint.path_with(&encoded_segment(endpoint.parameter().map_or("", value))));
    }
    let prefix = own_prefix(route.strip_suffix("/{proxy+}")?, endpoint);
    let prefix = prefix.iter().map(|segment| match parameter(segment) {
        Some(name) => format!("/{}", encoded_segment(value(name))),
        None => format!("/{segment}"),
    });
    let prefix: String = prefix.collect();
    let rest: Vec<String> = value(PROXY).split('/').map(encoded_segment).collect();
    let rest = rest.join("/");
    // At the root some events have the slash in the value too. Below a prefix it is an empty segment.
    let rest = if prefix.is_empty() { rest.trim_start_matches('/') } else { &rest };
    Some(format!("{prefix}/{rest}"))
}

/// Returns the segments at the end of a route's prefix that the endpoint's path begins with. Those before them are a base
/// path. The names of parameters do not matter.
fn own_prefix<'a>(prefix: &'a str, endpoint: Option<&Endpoint>) -> Vec<&'a str> {
    let mut segments: Vec<&str> = prefix.split('/').skip(1).collect();
    let Some(endpoint) = endpoint else { return segments }; // it returns 404 for every path
    let path: Vec<&str> = endpoint.path.split('/').skip(1).collect();
    let is_beginning = |segments: &[&str]| {
        let is_same = |(one, other): (&&str, &&str)| {
            one == other || (parameter(one).is_some() && parameter(other).is_some())
        };
        segments.len() <= path.len() && segments.iter().zip(&path).all(is_same)
    };
    while !is_beginning(&segments) {
        segments.remove(0);
    }
    segments
}

/// Returns the name of a segment that is a parameter.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Encodes a segment, so that a decoded slash stays within it.
fn encoded_segment(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// Encodes a raw path, which some services decode and others do not.
fn encoded(path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{}", utf8_percent_encode(path, PATH))
}

/// Returns a raw path of API Gateway without its stage, which precedes it unless the stage is `$default`.
fn without_stage(path: Option<String>, stage: Option<&str>) -> String {
    let path = path.unwrap_or_default();
    let stage = stage.filter(|stage| *stage != "$default");
    let rest = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    encoded(rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&path))
}

/// Returns the query of an event that lists parameters: `multiple` if it has any, else `single`.
fn query(multiple: &QueryMap, single: &QueryMap, encode: &'static AsciiSet) -> String {
    let mut query = String::new();
    for (name, value) in if multiple.is_empty() { single } else { multiple }.iter() {
        let and = if query.is_empty() { "" } else { "&" };
        let (name, value) = (utf8_percent_encode(name, encode), utf8_percent_encode(value, encode));
        let _ = write!(query, "{and}{name}={value}"); // writing to a String never fails
    }
    query
}

/// Returns the headers with all their values, if the event has them, else those with one value each.
fn multiple_or_single(multiple: HeaderMap, single: HeaderMap) -> HeaderMap {
    if multiple.is_empty() { single } else { multiple }
}

/// Sets `X-Forwarded-Proto`: API Gateway and Function URLs use TLS only.
fn behind_tls(mut headers: HeaderMap) -> HeaderMap {
    let _ = headers.try_insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers
}

/// Joins the cookies of an event to one header, without those that are no valid header values.
fn cookies(mut cookies: Vec<String>) -> Option<HeaderValue> {
    cookies.retain(|cookie| HeaderValue::from_str(cookie).is_ok());
    if cookies.is_empty() { None } else { HeaderValue::from_str(&cookies.join("; ")).ok() }
}

#[cfg(test)]
mod tests;
