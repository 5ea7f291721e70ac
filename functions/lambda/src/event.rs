//! From an event to a request. An event is whatever somebody invokes the function with, so nothing in it is relied on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{COOKIE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shared::{Endpoint, Problem};

/// What may not stand in a query as it is. A `%` may: the query is said to come encoded.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// What may not stand in a path as it is. API Gateway decodes some paths, Function URLs do not; what is right in an
/// encoded path stays as it is.
const PATH: &AsciiSet =
    &QUERY.add(b'?').add(b'[').add(b'\\').add(b']').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const NO_REQUEST: Problem = Problem::bad_request(
    "The event is not an HTTP request: requestContext.http.method is expected, as API Gateway (payload format 2.0) and \
     Function URLs send it.",
);
const NO_METHOD: Problem = Problem::bad_request("The method is not one that HTTP can have.");
const NO_ADDRESS: Problem =
    Problem::bad_request("The address of the request is longer than any of this service's.");
const NO_BODY: Problem =
    Problem::bad_request("The body of the event is not base64, which isBase64Encoded says it is.");

/// The request that an event of API Gateway (HTTP API, payload format 2.0) or of a Function URL stands for, and what
/// keeps it from being one. With a problem, the request is what could be read.
pub(crate) fn request(event: &str, endpoint: Option<&Endpoint>) -> (http::Request<Bytes>, Option<Problem>) {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let (body, no_body) = or_default_with_problem(body(&event));
    let (method, no_method) = or_default_with_problem(method(&event));
    let (uri, no_address) = or_default_with_problem(uri(&event, endpoint));
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(&event);
    (request, no_method.or(no_address).or(no_body))
}

fn or_default_with_problem<T: Default>(read: Result<T, Problem>) -> (T, Option<Problem>) {
    match read {
        Ok(value) => (value, None),
        Err(problem) => (T::default(), Some(problem)),
    }
}

fn method(event: &Value) -> Result<Method, Problem> {
    let method = event["requestContext"]["http"]["method"].as_str().ok_or(NO_REQUEST)?;
    Method::from_bytes(method.as_bytes()).map_err(|_| NO_METHOD)
}

fn uri(event: &Value, endpoint: Option<&Endpoint>) -> Result<Uri, Problem> {
    let mut address = path(event, endpoint);
    if let Some(query) = event["rawQueryString"].as_str().filter(|query| !query.is_empty()) {
        address.push('?');
        address.extend(utf8_percent_encode(query, QUERY));
    }
    PathAndQuery::try_from(address).map(Uri::from).map_err(|_| NO_ADDRESS)
}

/// Where API Gateway has matched one of the endpoint's own routes, its path with the parameter that was found there:
/// the raw path is decoded by then, and may have the name of a stage or a mapping before it. Else the raw path.
fn path(event: &Value, endpoint: Option<&Endpoint>) -> String {
    let route = event["routeKey"].as_str().and_then(|key| key.split_once(' ')).map(|(_, path)| path);
    let route = route.map(|path| path.strip_suffix('/').unwrap_or(path));
    if let Some(endpoint) = endpoint.filter(|endpoint| route == Some(endpoint.path)) {
        let parameter = endpoint.parameter().and_then(|name| event["pathParameters"][name].as_str());
        // Encoded again, a slash that was decoded stays within its segment.
        let parameter = utf8_percent_encode(parameter.unwrap_or_default(), NON_ALPHANUMERIC);
        return endpoint.path_with(&parameter.to_string());
    }
    let raw = event["rawPath"].as_str().unwrap_or_default();
    let slash = if raw.starts_with('/') { "" } else { "/" };
    format!("{slash}{}", utf8_percent_encode(raw, PATH))
}

/// What can be a header. A client cannot have sent what cannot.
fn headers(event: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in event["headers"].as_object().into_iter().flatten() {
        if let (Ok(name), Some(Ok(value))) =
            (HeaderName::try_from(name), value.as_str().map(HeaderValue::from_str))
        {
            let _ = headers.try_append(name, value); // fails when there are more than any client can send
        }
    }
    let cookies = event["cookies"].as_array().into_iter().flatten().filter_map(Value::as_str);
    // One that can be no header must not take the others along.
    let cookies: Vec<&str> = cookies.filter(|cookie| HeaderValue::from_str(cookie).is_ok()).collect();
    if !cookies.is_empty()
        && let Ok(cookies) = HeaderValue::from_str(&cookies.join("; "))
    {
        let _ = headers.try_append(COOKIE, cookies);
    }
    // Neither API Gateway nor a Function URL speaks anything but TLS.
    let _ = headers.try_insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers
}

fn body(event: &Value) -> Result<Bytes, Problem> {
    let body = event["body"].as_str().unwrap_or_default();
    if event["isBase64Encoded"] == true {
        return STANDARD.decode(body).map(Bytes::from).map_err(|_| NO_BODY);
    }
    Ok(Bytes::copy_from_slice(body.as_bytes()))
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

    fn read(further: &Value) -> (http::Request<Bytes>, Option<Problem>) {
        let mut event = json!({ "requestContext": { "http": { "method": "GET" } } });
        event.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        request(&event.to_string(), Some(&STYLES))
    }

    fn uri(further: &Value) -> String {
        let (request, problem) = read(further);
        assert!(problem.is_none(), "{further}");
        request.uri().to_string()
    }

    #[test]
    fn a_route_of_the_endpoint_gives_its_path_with_the_parameter_encoded_again() {
        for (key, id, expected) in [
            ("ANY /products/{product_id}/styles", "71", "/products/71/styles"),
            ("GET /products/{product_id}/styles/", "71", "/products/71/styles"),
            ("ANY /products/{product_id}/styles", "1/../2", "/products/1%2F%2E%2E%2F2/styles"),
            ("ANY /products/{product_id}/styles", "1?a#b%", "/products/1%3Fa%23b%25/styles"),
            ("ANY /products/{product_id}/styles", "", "/products//styles"),
        ] {
            let raw = "/stage/whatever";
            let event = json!({ "routeKey": key, "rawPath": raw, "pathParameters": { "product_id": id } });
            assert_eq!(uri(&event), expected);
        }
    }

    #[test]
    fn without_a_route_of_the_endpoint_the_raw_path_counts() {
        for (key, raw, expected) in [
            (json!("$default"), "/products/71/styles/", "/products/71/styles/"),
            (json!("ANY /products/{product_id}"), "/products/1%2F2/styles", "/products/1%2F2/styles"),
            (json!(null), "/products/../cart", "/products/../cart"),
            (json!(7), "//products", "//products"),
            (json!("$default"), "products/é ?#", "/products/%C3%A9%20%3F%23"),
            (json!("$default"), "", "/"),
        ] {
            let event = json!({ "routeKey": key, "rawPath": raw, "pathParameters": { "product_id": "2" } });
            assert_eq!(uri(&event), expected);
        }
    }

    #[test]
    fn a_query_keeps_what_is_encoded_and_has_the_rest_encoded() {
        let event = json!({ "rawPath": "/products", "rawQueryString": "page=%31&x=<a b\">#\u{e9}" });
        assert_eq!(uri(&event), "/products?page=%31&x=%3Ca%20b%22%3E%23%C3%A9");
    }

    #[test]
    fn what_can_be_no_header_or_cookie_was_not_sent() {
        let (request, _) = read(&json!({
            "headers": { "accept": "a", "bad name": "b", "x-control": "c\r\nd: e", "x-number": 1, "x-forwarded-proto": "http" },
            "cookies": ["a=1", "b=\u{1}", 7, "atelier_session=2"],
        }));
        let headers: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 3] =
            [("accept", b"a"), ("x-forwarded-proto", b"https"), ("cookie", b"a=1; atelier_session=2")];
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_body_is_text_unless_it_is_said_to_be_base64() {
        let body =
            |body: Value, is_base64: Value| read(&json!({ "body": body, "isBase64Encoded": is_base64 }));
        assert_eq!(body(json!("{}"), json!(false)).0.into_body(), "{}");
        assert_eq!(body(json!("e30="), json!(true)).0.into_body(), "{}");
        assert_eq!(body(json!("e30="), json!("true")).0.into_body(), "e30=");
        assert_eq!(body(json!({ "a": 1 }), json!(false)).0.into_body(), "");
        assert!(body(json!("*"), json!(true)).1.is_some());
    }
}
