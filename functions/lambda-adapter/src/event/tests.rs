use serde_json::json;
use shared::endpoint::{ALLOW_GET, Method as Answers};

use super::*;

const STYLES: Endpoint = Endpoint {
    name: "get-styles",
    method: Answers::Get,
    path: "/products/{product_id}/styles",
    query: &[],
    allow: ALLOW_GET,
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
    with(json!({ "httpMethod": "GET", "requestContext": { "httpMethod": "GET", "stage": "prod" } }), further)
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
fn the_part_of_the_endpoint_s_path_before_a_proxy_is_kept() {
    let id_and_rest = json!({ "product_id": "7/1", "id": "71", "proxy": "styles" });
    for (resource, parameters, expected) in [
        ("/products/{proxy+}", json!({ "proxy": "71/styles/" }), "/products/71/styles/"),
        ("/products/{proxy+}", json!({ "proxy": "/71/styles" }), "/products//71/styles"),
        ("/shop/products/{proxy+}", json!({ "proxy": "71/styles" }), "/products/71/styles"),
        ("/products/{product_id}/{proxy+}", id_and_rest.clone(), "/products/7%2F1/styles"),
        ("/products/{id}/{proxy+}", id_and_rest, "/products/71/styles"),
        ("/prod/{proxy+}", json!({ "proxy": "products/71/styles" }), "/products/71/styles"),
        (
            "/products/{product_id}/styles/{proxy+}",
            json!({ "product_id": "7", "proxy": "x" }),
            "/products/7/styles/x",
        ),
        ("{proxy+}", json!({ "proxy": "products/71/styles" }), "/"),
    ] {
        let event = json!({ "routeKey": format!("ANY {resource}"), "pathParameters": parameters });
        assert_eq!(uri(&format_2(&event)), expected, "{resource}");
        let event = json!({ "resource": resource, "pathParameters": parameters });
        assert_eq!(uri(&format_1(&event)), expected, "{resource}");
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
