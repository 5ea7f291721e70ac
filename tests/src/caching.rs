//! Tags, what caches are told, and gzip.

use std::collections::HashSet;

use bytes::Bytes;
use http::Request;

use crate::{Answer, SMALL_IDS, Transport, ask, get, get_with, golden};

const CACHE_CONTROL: &str = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400";

/// One path of each endpoint of the catalog.
pub(crate) const PATHS: [&str; 5] =
    ["/products?count=3", "/products/1", "/products/1/styles", "/products/1/related", "/products/1/overview"];

/// With a weak tag of sixteen digits, for how long, and by what it varies; and how long it waited for the database, if it
/// did.
pub async fn every_catalog_answer_may_be_cached(service: &impl Transport) {
    for path in PATHS {
        let answer = get(service, path).await;
        assert_eq!(answer.header("cache-control"), CACHE_CONTROL, "{path}");
        assert!(answer.header("vary").to_lowercase().contains("accept-encoding"), "{path}");
        let timing = answer.header("server-timing");
        let waited =
            timing.strip_prefix("db;dur=").is_some_and(|ms| ms.parse::<f64>().is_ok_and(|ms| ms > 0.0));
        assert!(waited || timing.is_empty(), "{path}: {timing}");
        let tag = answer.header("etag");
        let digits = tag.strip_prefix("W/\"").and_then(|t| t.strip_suffix('"')).unwrap_or_default();
        let is_hex = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(is_hex, "{path}: {tag}");
    }
}

/// Different contents have different tags; equal ones the same, in any coding.
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

/// Alone, in a list, in the strong form, as `*`; with GET and with HEAD.
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
                let answer = ask(service, request.body(Bytes::new()).unwrap()).await;
                assert_eq!(answer.status, 304, "{method} {path} {known}");
                assert_eq!(answer.header("etag"), tag, "{path}");
                assert_eq!(answer.header("cache-control"), CACHE_CONTROL, "{path}");
                assert!(answer.header("vary").to_lowercase().contains("accept-encoding"), "{path}");
            }
        }
        let two_lines = [("if-none-match", "\"0\""), ("if-none-match", tag)];
        let expected = if T::IS_STRICT { 400 } else { 304 };
        assert_eq!(get_with(service, path, &two_lines).await.status, expected, "{path}");
        let gzipped = [("if-none-match", tag), ("accept-encoding", "gzip")];
        assert_eq!(get_with(service, path, &gzipped).await.status, 304, "{path}");
    }
}

/// Another tag, or what is no tag at all; and a tag makes nothing of what is not there.
pub async fn an_unknown_tag_gets_the_answer(service: &impl Transport) {
    for path in PATHS {
        let digits: String =
            get(service, path).await.header("etag").chars().filter(char::is_ascii_hexdigit).collect();
        let upper = format!("W/\"{}\"", digits.to_uppercase() + "0");
        for unknown in
            ["W/\"0123456789abcdef\"", "\"\"", "", ",", "W/", "\"", &digits, &upper, "W/\"*\"", "\"*\""]
        {
            let answer = get_with(service, path, &[("if-none-match", unknown)]).await;
            assert_eq!(answer.status, 200, "{path} {unknown:?}");
            assert!(!answer.body.is_empty(), "{path}");
        }
    }
    assert_eq!(get_with(service, "/products/3", &[("if-none-match", "*")]).await.status, 404);
}

async fn coded(service: &impl Transport, accept: &str) -> Answer {
    let path = "/products/1/styles";
    let answer = get_with(service, path, &[("accept-encoding", accept)]).await;
    assert_eq!(answer.status, 200, "{accept}");
    assert_eq!(answer.text(), golden(path), "{accept}");
    answer
}

/// A weight of 0 refuses it, any other admits it.
pub async fn gzip_is_honoured_with_its_q_values(service: &impl Transport) {
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
    // Either coding will do for these; that the body is right was looked at.
    for accept in ["*", "identity, gzip;q=0.5", "gzip;q=2", "gzip;q=x", ";;,,", "gzip;q"] {
        coded(service, accept).await;
    }
    let plain = get(service, "/products/1/styles").await;
    assert_eq!(plain.header("content-encoding"), "");
}

/// What is shorter may come as it is.
pub async fn gzip_is_for_styles_and_overviews_and_what_is_over_a_kibibyte(service: &impl Transport) {
    assert!(golden("/products").len() > 1024);
    let always = ["/products/4/styles", "/products/1/styles", "/products/4/overview", "/products?count=1000"];
    for path in always {
        let answer = get_with(service, path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(answer.header("content-encoding"), "gzip", "{path}");
        assert_eq!(answer.plain(), get(service, path).await.plain(), "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
}
