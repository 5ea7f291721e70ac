//! Checks of entity tags, `Cache-Control` and gzip.

use std::collections::HashSet;

use bytes::Bytes;
use http::Request;

use crate::{CheckedResponse, SMALL_IDS, Transport, get, get_with, golden, send};

const CACHE_CONTROL: &str = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400";

/// One path of each endpoint of the catalog.
pub(crate) const PATHS: [&str; 11] = [
    "/products?count=3",
    "/products?category=Boots",
    "/products?q=boots",
    "/products/1",
    "/products/1/styles",
    "/products/1/related",
    "/products/1/overview",
    "/cards?count=3",
    "/cards?ids=2,1",
    "/categories",
    "/catalog",
];

/// The response has a weak tag of 16 hexadecimal digits, `Cache-Control` and `Vary`. If it waited for the database,
/// `Server-Timing` has the time.
pub async fn every_catalog_response_is_cacheable(service: &impl Transport) {
    for path in PATHS {
        let response = get(service, path).await;
        assert_eq!(response.header("cache-control"), CACHE_CONTROL, "{path}");
        assert!(response.header("vary").to_lowercase().contains("accept-encoding"), "{path}");
        let timing = response.header("server-timing");
        let waited =
            timing.strip_prefix("db;dur=").is_some_and(|ms| ms.parse::<f64>().is_ok_and(|ms| ms > 0.0));
        assert!(waited || timing.is_empty(), "{path}: {timing}");
        let tag = response.header("etag");
        let digits = tag.strip_prefix("W/\"").and_then(|t| t.strip_suffix('"')).unwrap_or_default();
        let is_hex = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(is_hex, "{path}: {tag}");
    }
}

/// Equal contents have the same tag in every coding, and different contents have different tags.
pub async fn a_tag_stands_for_one_content(service: &impl Transport) {
    let mut contents = HashSet::new();
    let mut tags = HashSet::new();
    for id in SMALL_IDS {
        for endpoint in ["", "/styles", "/related", "/overview"] {
            let path = format!("/products/{id}{endpoint}");
            let plain = get(service, &path).await;
            let gzipped = get_with(service, &path, &[("accept-encoding", "gzip")]).await;
            assert_eq!(plain.header("etag"), gzipped.header("etag"), "{path}");
            tags.insert(plain.header("etag").to_owned());
            contents.insert(plain.text());
        }
    }
    assert_eq!(tags.len(), contents.len());
}

/// A tag matches alone, in a list, in its strong form and as `*`, with GET and with HEAD.
pub async fn a_known_tag_gets_304<T: Transport>(service: &T) {
    for path in PATHS {
        let first = get(service, path).await;
        let tag = first.header("etag");
        let strong = tag.strip_prefix("W/").unwrap();
        let list = format!("W/\"0\", {tag}");
        let tight_list = format!("\"a,b\",{tag},\"c\"");
        for known in [tag, strong, &list, &tight_list, "*", " * "] {
            for method in ["GET", "HEAD"] {
                let request = Request::builder().method(method).uri(path).header("if-none-match", known);
                let response = send(service, request.body(Bytes::new()).unwrap()).await;
                assert_eq!(response.status, 304, "{method} {path} {known}");
                assert_eq!(response.header("etag"), tag, "{path}");
                assert_eq!(response.header("cache-control"), CACHE_CONTROL, "{path}");
                assert!(response.header("vary").to_lowercase().contains("accept-encoding"), "{path}");
            }
        }
        let two_lines = [("if-none-match", "\"0\""), ("if-none-match", tag)];
        let expected = if T::IS_STRICT { 400 } else { 304 };
        assert_eq!(get_with(service, path, &two_lines).await.status, expected, "{path}");
        let gzipped = [("if-none-match", tag), ("accept-encoding", "gzip")];
        assert_eq!(get_with(service, path, &gzipped).await.status, 304, "{path}");
    }
}

/// The header has another tag or an invalid one. A matching tag does not turn a 404 into a 304.
pub async fn an_unknown_tag_gets_the_full_response(service: &impl Transport) {
    for path in PATHS {
        let digits: String =
            get(service, path).await.header("etag").chars().filter(char::is_ascii_hexdigit).collect();
        let upper = format!("W/\"{}\"", digits.to_uppercase() + "0");
        for unknown in
            ["W/\"0123456789abcdef\"", "\"\"", "", ",", "W/", "\"", &digits, &upper, "W/\"*\"", "\"*\""]
        {
            let response = get_with(service, path, &[("if-none-match", unknown)]).await;
            assert_eq!(response.status, 200, "{path} {unknown:?}");
            assert!(!response.body.is_empty(), "{path}");
        }
    }
    assert_eq!(get_with(service, "/products/3", &[("if-none-match", "*")]).await.status, 404);
}

async fn coded(service: &impl Transport, accept: &str) -> CheckedResponse {
    let path = "/products/1/styles";
    let response = get_with(service, path, &[("accept-encoding", accept)]).await;
    assert_eq!(response.status, 200, "{accept}");
    assert_eq!(response.text(), golden(path), "{accept}");
    response
}

/// A weight of 0 excludes gzip; any other weight permits it.
pub async fn accept_encoding_weights_are_honoured(service: &impl Transport) {
    let wanted = [
        "gzip",
        "GZIP",
        "gzip;q=1",
        "gzip;q=0.5",
        "br, gzip;q=0.8",
        "deflate, gzip, br",
        "gzip ; q=1.000",
        "identity;q=0, gzip",
        "gzip;q=0.001, identity;q=0",
    ];
    for accept in wanted {
        assert_eq!(coded(service, accept).await.header("content-encoding"), "gzip", "{accept}");
    }
    let refused =
        ["", "identity", "br", "gzip;q=0", "gzip;q=0.0, br", "gzip;q=0.000", "*;q=0", "gzip;q=0, *", "xgzip"];
    for accept in refused {
        assert_eq!(coded(service, accept).await.header("content-encoding"), "", "{accept}");
    }
    // The service may choose either coding for these headers. `coded` has compared the body.
    for accept in ["*", "identity, gzip;q=0.5", "gzip;q=2", "gzip;q=x", ";;,,", "gzip;q"] {
        coded(service, accept).await;
    }
    let plain = get(service, "/products/1/styles").await;
    assert_eq!(plain.header("content-encoding"), "");
}

/// Shorter bodies may be sent uncompressed.
pub async fn styles_overviews_and_bodies_over_a_kibibyte_are_gzipped(service: &impl Transport) {
    assert!(golden("/products").len() > 1024);
    let always = ["/products/4/styles", "/products/1/styles", "/products/4/overview", "/products?count=1000"];
    for path in always {
        let response = get_with(service, path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(response.header("content-encoding"), "gzip", "{path}");
        assert_eq!(response.plain(), get(service, path).await.plain(), "{path}");
        assert_eq!(response.header("content-type"), "application/json", "{path}");
    }
}
