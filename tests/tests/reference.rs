//! The reference on a host: the setting that turns it off, and the same files for another web server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use atelier_host::reference::{ENDPOINTS, FILES};
use conformance::{get, get_with, gunzip};
use support::serving::{serve_with, small_host};
use support::small;

#[tokio::test]
async fn with_docs_off_the_paths_of_the_reference_are_unknown() {
    let host = serve_with(&small().await.database, &[("DOCS", "off")]).await;
    let same_id = [("x-request-id", "tested")];
    let unknown = get_with(&host, "/nothing", &same_id).await;
    for endpoint in ENDPOINTS {
        let response = get_with(&host, endpoint.path, &same_id).await;
        assert_eq!(response.status, 404, "{}", endpoint.path);
        assert_eq!(response.body, unknown.body, "{}", endpoint.path);
    }
    assert_eq!(get(&host, "/products/1").await.status, 200);
}

#[tokio::test]
async fn the_files_for_another_web_server_are_those_that_a_host_serves() {
    let host = small_host().await;
    for (file, content) in FILES {
        let path = match file {
            "docs.html" => "/docs".to_owned(),
            "docs/index.html" => "/docs/".to_owned(),
            other => format!("/{other}"),
        };
        assert_eq!(get(&host, &path).await.body, gunzip(content.gzipped), "{path}");
    }
    let paths = ENDPOINTS.len() + 1; // `/docs` also with a slash at the end, where the page is another
    assert_eq!(FILES.len(), paths);
}
