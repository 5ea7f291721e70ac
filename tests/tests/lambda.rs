//! The suite over the functions' binaries, behind API Gateway and behind Function URLs. Their responses must equal the
//! host's, and they must survive invalid events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use conformance::hostile::random_requests;
use conformance::lambda::{Matched, Outcome, Source, response};
use conformance::{Transport, golden};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::{Value, json};
use support::functions::{
    event, format_1, function, function_urls, gateway, get, http_proxy, lattice, load_balancer, named_stage,
    not_found, rest_api, rest_proxy, rest_proxy_below_prefix,
};
use support::serving::serve_with;
use support::small;

mod api_gateway {
    use super::support::functions::gateway;
    conformance::suite!(gateway);
}

mod api_gateway_on_a_named_stage {
    use super::support::functions::named_stage;
    conformance::suite!(named_stage);
}

mod api_gateway_in_format_1 {
    use super::support::functions::format_1;
    conformance::suite!(format_1);
}

mod api_gateway_by_proxy {
    use super::support::functions::http_proxy;
    conformance::suite!(http_proxy);
}

mod rest_api {
    use super::support::functions::rest_api;
    conformance::suite!(rest_api);
}

mod rest_api_by_proxy {
    use super::support::functions::rest_proxy;
    conformance::suite!(rest_proxy);
}

mod rest_api_by_proxy_below_a_prefix {
    use super::support::functions::rest_proxy_below_prefix;
    conformance::suite!(rest_proxy_below_prefix);
}

mod function_url {
    use super::support::functions::function_urls;
    conformance::suite!(function_urls);
}

mod load_balancer {
    use super::support::functions::load_balancer;
    conformance::suite!(load_balancer);
}

mod vpc_lattice {
    use super::support::functions::lattice;
    conformance::suite!(lattice);
}

/// Returns the headers that must be the same on every transport: without those that differ between any two requests,
/// and those of a connection.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for passing in ["date", "server-timing", "connection"] {
        headers.remove(passing);
    }
    if let Some(cookie) = headers.get_mut("set-cookie") {
        let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
        let attributes = rest.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        *cookie = HeaderValue::try_from(format!("{name}={attributes}")).unwrap();
    }
    headers
}

fn assert_same(request: &Request<Bytes>, host: &Response<Bytes>, function: &Response<Bytes>) {
    let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    assert_eq!(host.status(), function.status(), "{what}");
    assert_eq!(lasting(host.headers()), lasting(function.headers()), "{what}");
    assert_eq!(host.body(), function.body(), "{what}");
}

#[tokio::test]
async fn functions_respond_like_the_host_byte_for_byte() {
    // Functions leave the product page and the reference to a bucket.
    let host = serve_with(&small().await.database, &[("PAGE", "off"), ("DOCS", "off")]).await;
    let gateways = [
        gateway().await,
        named_stage().await,
        format_1().await,
        http_proxy().await,
        rest_api().await,
        rest_proxy().await,
        rest_proxy_below_prefix().await,
    ];
    let directs = [function_urls().await, load_balancer().await, lattice().await];
    let mut requests = Vec::new();
    for path in [
        "/products",
        "/products/?count=3",
        "/products?page=0",
        "/products?count=%31",
        "/products/1",
        "/products/1/",
        "/products/3",
        "/products/abc",
        "/products/1/styles",
        "/products/4/styles/",
        "/products/2/related",
        "/products/1/overview",
        "/products/1%2Fstyles",
        "/products/../cart",
        "/products//styles",
        "/cart",
        "/cart/",
        "/nothing",
        "/",
    ] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE"] {
            for (name, value) in [("accept-encoding", "gzip"), ("if-none-match", "*"), ("authorization", "x")]
            {
                let request = Request::builder().method(method).uri(path).header(name, value);
                requests.push(request.body(Bytes::new()).unwrap());
            }
        }
    }
    let add = Request::post("/cart").header("content-type", "application/json");
    requests.push(add.header("x-forwarded-proto", "https").body(r#"{"sku_id":1}"#.into()).unwrap());
    requests.extend(random_requests());
    for mut request in requests {
        request.headers_mut().insert("x-request-id", "tested".parse().unwrap());
        request.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap()); // Lambda always uses HTTPS
        let answer = host.call(request.clone()).await;
        for direct in &directs {
            assert_same(&request, &answer, &direct.call(request.clone()).await);
        }
        // API Gateway decodes paths, and puts a base path before those without a route. Then some invalid paths look
        // like valid ones.
        let is_comparable = !request.uri().path().contains('%') && !request.uri().path().contains("..");
        for gateway in gateways.iter().filter(|_| is_comparable) {
            assert_same(&request, &answer, &gateway.call(request.clone()).await);
        }
    }
}

/// Returns valid events of every kind, as API Gateway and Function URLs send them, as seeds for damaged ones.
fn sound_events() -> Vec<Value> {
    let post = Request::post("/cart")
        .header("authorization", "Bearer mutation")
        .header("content-type", "application/json");
    let binary = Request::post("/cart")
        .header("content-type", "application/octet-stream")
        .header("cookie", "a=b; c=d");
    let requests = [
        get("/products/1"),
        get("/products/1/styles?x=%20"),
        get("/products?page=1&count=5"),
        post.body(r#"{"sku_id":1}"#.into()).unwrap(),
        binary.body(Bytes::from_static(b"\x00\xff")).unwrap(),
    ];
    let matched = |key: &str| Matched::by_default(key, vec![("product_id".into(), "1".into())]);
    let proxy = Matched {
        stage: "prod",
        ..Matched::by_default("ANY /{proxy+}", vec![("proxy".into(), "cart".into())])
    };
    let sources = [
        Source::Url,
        Source::HttpApi(matched("ANY /products/{product_id}")),
        Source::HttpApi(matched("POST /cart")),
        Source::HttpApi(matched("$default")),
        Source::HttpApiFormat1(matched("ANY /products/{product_id}")),
        Source::RestApi(matched("ANY /products/{product_id}")),
        Source::RestApi(proxy),
        Source::Alb,
        Source::Lattice,
    ];
    sources.iter().flat_map(|source| requests.iter().map(|request| source.event(request))).collect()
}

#[tokio::test]
async fn functions_survive_thousands_of_damaged_events() {
    const EVENTS_EACH: usize = 1_500;
    let database = &small().await.database;
    let functions = [
        function("get-product", database, &[]).await,
        function("list-products", database, &[]).await,
        function("add-to-cart", database, &[]).await,
        not_found().await,
    ];
    for mut function in functions {
        let mut rng = fastrand::Rng::with_seed(1);
        for event in sound_events().iter().cycle().take(EVENTS_EACH) {
            let event = support::mutation::mutate(event, &mut rng).to_string();
            let outcome = function.invoke(event.clone()).await;
            let Outcome::Reply(reply) = &outcome else { panic!("{function:?}: {outcome:?} to {event}") };
            let reply: Value = serde_json::from_slice(reply).unwrap();
            assert!(
                reply["statusCode"].as_u64().is_some_and(|status| status < 500),
                "{function:?}: {reply} to {event}"
            );
        }
        assert_eq!(function.exit_status(), None);
    }
}

/// Returns the example events of the library that parses them. `cargo lambda invoke --data-example` sends them too.
fn examples() -> BTreeMap<String, Value> {
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(support::root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let library = packages.iter().find(|package| package["name"] == "aws_lambda_events").unwrap();
    let fixtures = Path::new(library["manifest_path"].as_str().unwrap()).with_file_name("src/fixtures");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_default())
    };
    std::fs::read_dir(&fixtures)
        .unwrap_or_else(|error| panic!("{}: {error}", fixtures.display()))
        .map(file)
        .collect()
}

#[tokio::test]
async fn example_events_of_every_service_get_a_reply_in_its_format() {
    let functions = [function("get-product", &small().await.database, &[]).await, not_found().await];
    let families = [
        ("example-apigw-v2-request", Source::Url),
        ("example-apigw-sam-http-request", Source::Url),
        ("example-apigw-request", Source::RestApi(Matched::by_default("", Vec::new()))),
        ("example-apigw-restapi-openapi-request", Source::RestApi(Matched::by_default("", Vec::new()))),
        ("example-apigw-sam-rest-request", Source::RestApi(Matched::by_default("", Vec::new()))),
        ("example-apigw-console-test-request", Source::RestApi(Matched::by_default("", Vec::new()))),
        ("example-alb-lambda-target-request", Source::Alb),
        ("example-vpc-lattice-v2-request", Source::Lattice),
    ];
    let mut sent = BTreeSet::new();
    for (name, event) in examples() {
        let Some((family, source)) = families.iter().find(|(family, _)| name.starts_with(family)) else {
            continue;
        };
        sent.insert(*family);
        for function in &functions {
            let answer = source.response(&function.invoke(event.to_string()).await);
            assert!([200, 400, 404].contains(&answer.status().as_u16()), "{name}: {answer:?}");
            assert!(answer.headers().contains_key("x-request-id"), "{name}: {answer:?}");
            let body = String::from_utf8_lossy(answer.body());
            assert!(!body.contains("is not an HTTP request"), "{name} was not parsed: {body}");
        }
    }
    assert_eq!(sent.len(), families.len(), "{sent:?}");
}

#[tokio::test]
async fn an_event_that_is_no_request_is_400_with_the_expected_form() {
    let function = function("get-product", &small().await.database, &[]).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many_headers: serde_json::Map<_, _> =
        (0..50_000).map(|n| (format!("h{n}"), Value::from("x"))).collect();
    let many_headers = json!({ "headers": many_headers }).to_string();
    let method = |method: &str| json!({ "requestContext": { "http": { "method": method } } }).to_string();
    for event in ["{}", "null", "7", "\"GET\"", "[]", &deep, &many_headers, &method("G T")] {
        let answer = response(&function.invoke(event.to_owned()).await);
        assert_eq!(answer.status(), 400, "{}", &event[..event.len().min(80)]);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let long = response(&function.invoke(event(&format!("/products/{}", "9".repeat(30_000)))).await);
    assert_eq!(long.status(), 400, "an id of this length is invalid");
    let mut longest: Value = serde_json::from_str(&event("/products/1")).unwrap();
    longest["rawPath"] = format!("/products/{}", "9".repeat(70_000)).into();
    assert_eq!(response(&function.invoke(longest.to_string()).await).status(), 400);
}

#[tokio::test]
async fn an_event_that_is_not_json_is_an_error_and_the_next_one_succeeds() {
    let mut function = function("get-product", &small().await.database, &[]).await;
    for nonsense in [&b""[..], b"{", b"\xff\xfe", b"GET / HTTP/1.1"] {
        assert!(matches!(function.invoke(nonsense).await, Outcome::Error(_)));
    }
    let answer = response(&function.invoke(event("/products/1")).await);
    assert_eq!(
        (answer.status().as_u16(), str::from_utf8(answer.body()).unwrap()),
        (200, &*golden("/products/1"))
    );
    assert_eq!(function.exit_status(), None);
}
