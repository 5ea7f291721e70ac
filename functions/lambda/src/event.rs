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
            Ok(Ok(None)) => return Self::refused(event, "it has no method"),
            Ok(Err(_)) => return Self::refused(event, ""), // it says the same of all
            Err(_) => return Self::refused(event, "it has too many headers, or a parameter without a value"),
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
    fn refused(text: &str, why: &str) -> Self {
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
            "" => format!("it is no event of {origin:?}: {}", lack(text)),
            why => why.to_owned(),
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
            let raw = event.raw_path.unwrap_or_default();
            let route = event.route_key.as_deref().and_then(|key| key.split_once(' ')).map(|(_, path)| path);
            let path = of_route(route, &event.path_parameters, endpoint)
                .unwrap_or_else(|| encoded(without_stage(&raw, event.request_context.stage.as_deref())));
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
            let raw = event.path.unwrap_or_default();
            let path = of_route(event.resource.as_deref(), &event.path_parameters, endpoint)
                .unwrap_or_else(|| encoded(without_stage(&raw, event.request_context.stage.as_deref())));
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
/// in place of `{proxy+}`. The raw path may be decoded, and have the name of a stage or a mapping before it.
fn of_route(
    route: Option<&str>,
    parameters: &HashMap<String, String>,
    endpoint: Option<&Endpoint>,
) -> Option<String> {
    let route = route.map(|route| route.strip_suffix('/').unwrap_or(route))?;
    if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.path == route) {
        let parameter = endpoint.parameter().and_then(|name| parameters.get(name));
        return Some(endpoint.path_with(&encoded_segment(parameter.map_or("", String::as_str))));
    }
    if route.ends_with("{proxy+}") {
        let segments: Vec<String> =
            parameters.get(PROXY).map_or("", String::as_str).split('/').map(encoded_segment).collect();
        return Some(format!("/{}", segments.join("/").trim_start_matches('/')));
    }
    None
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

/// A raw path without the stage that is put before it, unless it is `$default`.
fn without_stage<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let stage = stage.filter(|stage| *stage != "$default");
    let rest = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path)
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
mod tests {
    use serde_json::json;
    use shared::endpoint::{Method as Answers, READ_ONLY};

    use super::*;

    const STYLES: Endpoint = Endpoint {
        name: "get-styles",
        method: Answers::Get,
        path: "/products/{product_id}/styles",
        query: &[],
        allow: READ_ONLY,
        handler: |_, _| unreachable!(),
    };

    fn with(mut event: Value, further: &Value) -> Event {
        event.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        Event::read(&event.to_string(), Some(&STYLES))
    }

    fn format_2(further: &Value) -> Event {
        with(json!({ "requestContext": { "http": { "method": "GET" }, "stage": "prod" } }), further)
    }

    fn format_1(further: &Value) -> Event {
        with(
            json!({ "httpMethod": "GET", "requestContext": { "httpMethod": "GET", "stage": "prod" } }),
            further,
        )
    }

    fn alb(further: &Value) -> Event {
        with(
            json!({ "httpMethod": "GET", "path": "/", "requestContext": { "elb": { "targetGroupArn": "a" } } }),
            further,
        )
    }

    fn lattice(further: &Value) -> Event {
        let context = json!({ "serviceNetworkArn": "a", "serviceArn": "b", "targetGroupArn": "c", "region": "d",
            "timeEpoch": "1" });
        with(json!({ "version": "2.0", "method": "GET", "path": "/", "requestContext": context }), further)
    }

    fn uri(event: &Event) -> String {
        assert!(event.refusal.is_none(), "{}", event.refusal.as_ref().unwrap().why);
        event.request.uri().to_string()
    }

    fn headers(event: &Event) -> Vec<(&str, &[u8])> {
        event.request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    #[test]
    fn a_route_of_the_endpoint_gives_its_path_with_the_parameter_encoded_again() {
        for (path, id, expected) in [
            ("/products/{product_id}/styles", "71", "/products/71/styles"),
            ("/products/{product_id}/styles/", "71", "/products/71/styles"),
            ("/products/{product_id}/styles", "1/../2", "/products/1%2F%2E%2E%2F2/styles"),
            ("/products/{product_id}/styles", "1?a#b%", "/products/1%3Fa%23b%25/styles"),
            ("/products/{product_id}/styles", "", "/products//styles"),
        ] {
            let parameters = json!({ "product_id": id });
            let raw = "/prod/shop/whatever";
            let event =
                json!({ "routeKey": format!("ANY {path}"), "rawPath": raw, "pathParameters": parameters });
            assert_eq!(uri(&format_2(&event)), expected);
            let event = json!({ "resource": path, "path": raw, "pathParameters": parameters });
            assert_eq!(uri(&format_1(&event)), expected);
        }
    }

    #[test]
    fn a_proxy_route_gives_what_stands_in_its_place_with_its_slashes() {
        for (proxy, expected) in [
            ("products/71/styles", "/products/71/styles"),
            ("products/71/styles/", "/products/71/styles/"),
            ("products/é?/styles", "/products/%C3%A9%3F/styles"),
            ("", "/"),
        ] {
            let parameters = json!({ "proxy": proxy });
            let raw = "/prod/shop/whatever";
            let event = json!({ "routeKey": "ANY /{proxy+}", "rawPath": raw, "pathParameters": parameters });
            assert_eq!(uri(&format_2(&event)), expected);
            let event = json!({ "resource": "/shop/{proxy+}", "path": raw, "pathParameters": parameters });
            assert_eq!(uri(&format_1(&event)), expected);
        }
    }

    #[test]
    fn without_a_route_the_raw_path_counts_less_the_stage() {
        for (key, raw, expected) in [
            (json!("$default"), "/prod/products/71/styles/", "/products/71/styles/"),
            (json!("$default"), "/products/71/styles", "/products/71/styles"),
            (json!("$default"), "/product", "/product"),
            (json!("ANY /products/{product_id}"), "/products/1%2F2/styles", "/products/1%2F2/styles"),
            (json!(null), "/products/../cart", "/products/../cart"),
            (json!("$default"), "products/é ?#", "/products/%C3%A9%20%3F%23"),
            (json!("$default"), "/prod", "/"),
            (json!("$default"), "", "/"),
        ] {
            let event = json!({ "routeKey": key, "rawPath": raw, "pathParameters": { "product_id": "2" } });
            assert_eq!(uri(&format_2(&event)), expected);
        }
        let by_default = json!({ "rawPath": "/$default/cart", "requestContext": { "http": { "method": "GET" },
            "stage": "$default" } });
        assert_eq!(uri(&format_2(&by_default)), "/$default/cart");
        assert_eq!(uri(&alb(&json!({ "path": "/products/1%2F2/styles" }))), "/products/1%2F2/styles");
        assert_eq!(uri(&lattice(&json!({ "path": "/products/../cart?x=1" }))), "/products/../cart");
    }

    #[test]
    fn a_query_keeps_what_is_encoded_and_has_the_rest_encoded() {
        let event = format_2(&json!({ "rawPath": "/", "rawQueryString": "page=%31&x=<a b\">#\u{e9}" }));
        assert_eq!(uri(&event), "/?page=%31&x=%3Ca%20b%22%3E%23%C3%A9");
        let decoded = json!({ "path": "/", "multiValueQueryStringParameters": { "x": ["1&2", "a=b% +"] },
            "queryStringParameters": { "x": "last" } });
        assert_eq!(uri(&format_1(&decoded)), "/?x=1%262&x=a%3Db%25%20%2B");
        let single = json!({ "path": "/", "queryStringParameters": { "page": "2" } });
        assert_eq!(uri(&format_1(&single)), "/?page=2");
        let raw = json!({ "multiValueQueryStringParameters": { "x": ["%31", "a b"] } });
        assert_eq!(uri(&alb(&raw)), "/?x=%31&x=a%20b");
        assert_eq!(uri(&lattice(&json!({ "queryStringParameters": { "x": ["%31"] } }))), "/?x=%31");
    }

    #[test]
    fn headers_keep_their_lines_where_an_event_has_them_and_the_scheme_where_a_service_speaks_both() {
        let event = format_2(&json!({
            "headers": { "accept": "a", "x-forwarded-proto": "http" },
            "cookies": ["a=1", "b=\u{1}", "atelier_session=2"],
        }));
        let expected: [(&str, &[u8]); 3] =
            [("accept", b"a"), ("x-forwarded-proto", b"https"), ("cookie", b"a=1; atelier_session=2")];
        assert_eq!(headers(&event), expected);
        let twice = json!({ "headers": { "x": "2" }, "multiValueHeaders": { "x": ["1", "2"] } });
        let lines: [(&str, &[u8]); 2] = [("x", b"1"), ("x", b"2")];
        assert_eq!(headers(&format_1(&twice))[..2], lines);
        assert_eq!(headers(&alb(&twice)), lines);
        let http = json!({ "headers": { "x-forwarded-proto": "http" } });
        for event in [alb(&http), lattice(&http)] {
            assert_eq!(event.request.headers()[X_FORWARDED_PROTO], "http");
        }
    }

    #[test]
    fn a_body_is_text_unless_it_is_said_to_be_base64() {
        for family in [format_2, format_1, alb, lattice] {
            let body =
                |body: &str, is_base64: bool| family(&json!({ "body": body, "isBase64Encoded": is_base64 }));
            assert_eq!(body("{}", false).request.into_body(), "{}");
            assert_eq!(body("e30=", true).request.into_body(), "{}");
            assert!(body("*", true).refusal.unwrap().why.starts_with("its body is not base64"));
            assert_eq!(family(&json!({ "body": null })).request.into_body(), "");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_in_the_form_of_the_service_that_seems_to_have_sent_it() {
        let origin = |event: &Value| {
            let Event { origin, refusal, .. } = Event::read(&event.to_string(), None);
            assert!(refusal.is_some(), "{event}");
            format!("{origin:?}")
        };
        assert_eq!(origin(&json!({ "requestContext": { "elb": {} }, "httpMethod": 1 })), "Alb");
        assert_eq!(origin(&json!({ "requestContext": { "serviceArn": "a" } })), "VpcLatticeV2");
        assert_eq!(origin(&json!({ "httpMethod": "G T" })), "ApiGatewayV1");
        for event in
            [json!({}), json!(null), json!([1]), json!({ "requestContext": { "http": { "method": "G T" } } })]
        {
            assert_eq!(origin(&event), "ApiGatewayV2", "{event}");
        }
        for (event, why) in [
            (json!({}), "it is no event of ApiGatewayV2: missing field `requestContext` at line 1 column 2"),
            (
                json!({ "headers": { "authorization": "s3cret\u{1}" }, "requestContext": { "http": { "method": "GET" } } }),
                "it is no event of ApiGatewayV2: invalid value at column 43",
            ),
        ] {
            assert_eq!(Event::read(&event.to_string(), None).refusal.unwrap().why, why);
        }
        let empty = json!({ "httpMethod": "GET", "requestContext": { "httpMethod": "GET" },
            "multiValueQueryStringParameters": { "x": [] } });
        assert_eq!(origin(&empty), "ApiGatewayV1", "a parameter without a value");
    }
}
