//! openapi.json holds for the files with expected responses and for the bodies of a running host. `conformance::send`
//! compares each response with it, so the suite does on every transport; here are more of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use conformance::{CheckedResponse, SMALL_IDS, get, get_with, send, small_dataset};
use http::{Method, Request};
use openapi::{Mismatch, examples, request_examples, verify, verify_body};
use support::serving::{Socket, serve, small_host};
use support::{generated, real_heads, root};

/// Returns the paths of all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_expected_response_is_as_its_contract_type_writes_it() {
    let folder = small_dataset().join("expected");
    let mut checked = 0;
    for file in files(&folder) {
        let path = file.strip_prefix(&folder).unwrap().to_str().unwrap();
        if let Some(path) = path.strip_suffix(".json") {
            let verified = verify_body(&format!("/{path}"), &std::fs::read(&file).unwrap());
            verified.unwrap_or_else(|error| panic!("{path}: {error}"));
            checked += 1;
        }
    }
    assert_eq!(checked, 1 + SMALL_IDS.len() * 4);
    let generated = std::fs::read_to_string(root().join("tests/data/generated-0.0001-1.jsonl")).unwrap();
    for overview in generated.lines() {
        let verified = verify_body("/products/1/overview", overview.as_bytes());
        verified.unwrap_or_else(|error| panic!("{overview}: {error}"));
    }
}

#[test]
fn another_body_is_not_as_its_contract_type_writes_it() {
    for (path, body) in [
        ("/cart", r#"[{"count":2,"sku_id":1}]"#),
        ("/cart", r#"[{"sku_id":1, "count":2}]"#),
        ("/products/1/related", "[1,2 ]"),
        ("/products/1/styles", r#"{"results":[],"product_id":"1"}"#),
    ] {
        assert!(matches!(verify_body(path, body.as_bytes()), Err(Mismatch::Bytes(_))), "{body}");
    }
    for (path, body) in [
        ("/cart", r#"[{"sku_id":1,"count":2,"size":"M"}]"#),
        ("/cart", r#"[{"sku_id":1}]"#),
        ("/cart", r#"[{"sku_id":"1","count":2}]"#),
        ("/products/1/related", "[1.5]"),
        ("/products/1/styles", r#"{"product_id":1,"results":[]}"#),
        ("/healthz", r#"{"status":"dead"}"#),
    ] {
        assert!(matches!(verify_body(path, body.as_bytes()), Err(Mismatch::Type(_))), "{body}");
    }
}

/// The response to a request for a page of the list, with one thing changed, is no longer as documented.
#[tokio::test]
async fn another_status_or_header_is_not_documented() {
    let CheckedResponse { status, headers, body } = get(&small_host().await, "/products").await;
    let verify =
        |status, headers: &http::HeaderMap| verify(&Method::GET, "/products", status, headers, &body);
    verify(status, &headers).unwrap();
    let teapot = http::StatusCode::IM_A_TEAPOT;
    assert!(matches!(verify(teapot, &headers), Err(Mismatch::Status(_))));
    for missing in ["etag", "x-request-id", "cache-control", "vary"] {
        let mut headers = headers.clone();
        headers.remove(missing).unwrap();
        assert!(matches!(verify(status, &headers), Err(Mismatch::Missing(_))), "{missing}");
    }
    let mut further = headers.clone();
    further.insert("retry-after", "1".parse().unwrap());
    assert!(matches!(verify(status, &further), Err(Mismatch::Undocumented(_))));
    let mut other = headers;
    other.insert("content-type", "text/html".parse().unwrap());
    assert!(matches!(verify(status, &other), Err(Mismatch::MediaType { .. })));
}

/// Adds to the cart of the tests.
async fn add(host: &Socket, identity: &str, body: &'static str) -> CheckedResponse {
    let request = Request::post("/cart").header("authorization", identity);
    let request = request.header("content-type", "application/json");
    send(host, request.body(Bytes::from_static(body.as_bytes())).unwrap()).await
}

#[tokio::test]
async fn the_examples_are_responses_of_the_host() {
    let host = small_host().await;
    for example in examples() {
        if let Some(path) = example.path {
            assert_eq!(get(&host, path).await.text(), example.body, "{}", example.name);
        }
    }
    let body_of = |name: &str| {
        let mut all = examples().chain(request_examples());
        all.find(|example| example.name == name).unwrap().body
    };
    let identity = "of the examples";
    let get_as = async |path: &str| get_with(&host, path, &[("authorization", identity)]).await.text();
    assert_eq!(add(&host, identity, body_of("add")).await.status, 201);
    let lines = get_as("/cart/lines").await;
    let first_line = lines.strip_suffix(']').unwrap();
    assert!(body_of("cart-lines").starts_with(&format!("{first_line},")), "{lines}");
    assert_eq!(add(&host, identity, body_of("add-one")).await.status, 201);
    assert_eq!(get_as("/cart").await, body_of("cart"));
    let request = Request::put("/cart/2").header("authorization", identity);
    let request = request.header("content-type", "application/json");
    let response = send(&host, request.body(Bytes::from_static(body_of("set").as_bytes())).unwrap()).await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (200, body_of("cart-line")));
}

#[tokio::test]
async fn the_problems_of_the_examples_have_the_details_of_the_service() {
    let host = small_host().await;
    let document: serde_json::Value = serde_json::from_str(&openapi::document().unwrap()).unwrap();
    let balancer = std::fs::read_to_string(root().join("deploy/nginx/nginx.conf.template")).unwrap();
    let post = |body: &'static str| add(&host, "of problems", body);
    let untyped = Request::post("/cart").body(Bytes::new()).unwrap();
    let found = [
        ("BadRequest", get(&host, "/products/abc").await),
        ("NotFound", get(&host, "/products/3").await),
        ("UnsupportedMediaType", send(&host, untyped).await),
        ("UnprocessableEntity", post(r#"{"sku_id":2147483647}"#).await),
    ];
    for (name, response) in found {
        let response: serde_json::Value = serde_json::from_str(&response.text()).unwrap();
        let example = &document["components"]["examples"][name]["value"];
        for member in ["type", "title", "status", "detail"] {
            assert_eq!(example[member], response[member], "{name}");
        }
    }
    for name in ["TooManyRequests", "BadGateway", "GatewayTimeout", "InternalServerError"] {
        let example = &document["components"]["examples"][name]["value"];
        for member in ["title", "detail"] {
            assert!(balancer.contains(&format!("{};\n", example[member])), "{name}: {}", example[member]);
        }
    }
}

#[test]
fn the_host_and_the_loader_do_not_contain_the_crate() {
    for package in ["atelier-host", "etl"] {
        let tree = ["tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none"];
        let output = Command::new(env!("CARGO")).args(tree).current_dir(root()).output().unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        assert!(tree.starts_with(&format!("{package} ")), "{tree}");
        assert!(
            !tree.lines().any(|line| line.starts_with("openapi ") || line.starts_with("utoipa ")),
            "{tree}"
        );
    }
}

/// `get` and `send` panic if a response is not as in openapi.json.
#[tokio::test]
async fn every_response_over_a_generated_dataset_is_as_in_openapi_json() {
    let host = serve(&generated(0.000_5, 11, false).await.database).await;
    for id in 1..=500 {
        for endpoint in ["", "/styles", "/related", "/overview"] {
            assert_eq!(get(&host, &format!("/products/{id}{endpoint}")).await.status, 200, "{id}{endpoint}");
        }
    }
    for (query, status) in [("", 200), ("?count=1000", 200), ("?page=9&count=500", 200), ("?page=0", 400)] {
        assert_eq!(get(&host, &format!("/products{query}")).await.status, status, "{query}");
    }
    for page in 1..=20 {
        assert_eq!(get(&host, &format!("/products?page={page}&count=25")).await.status, 200);
    }
    for sku_id in 1..=100 {
        let body: &'static str = format!(r#"{{"sku_id":{sku_id},"count":{sku_id}}}"#).leak();
        let status = if sku_id < 100 { 201 } else { 400 };
        assert_eq!(add(&host, "a large cart", body).await.status, status);
    }
    let cart =
        get_with(&host, "/cart", &[("authorization", "a large cart"), ("accept-encoding", "gzip")]).await;
    assert_eq!((cart.status.as_u16(), cart.header("content-encoding")), (200, "gzip"));
    if let Some(dir) = real_heads() {
        let host = serve(&support::load(&dir).await.database).await;
        for id in 1..=100 {
            assert_eq!(get(&host, &format!("/products/{id}/overview")).await.status, 200, "{id}");
        }
    }
}
