//! The product page and the reference on a host: the settings that turn them off, and the same files for another web server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use atelier_host::page;
use atelier_host::reference::{ENDPOINTS, FILES};
use conformance::{get, get_with, gunzip};
use support::serving::{serve_with, small_host};
use support::small;

#[tokio::test]
async fn turned_off_the_paths_of_the_page_and_of_the_reference_are_unknown() {
    let same_id = [("x-request-id", "tested")];
    let settings: [(&'static [(&str, &str)], _, _); 2] =
        [(&[("DOCS", "off")], ENDPOINTS, page::ENDPOINTS), (&[("PAGE", "off")], page::ENDPOINTS, ENDPOINTS)];
    for (variables, off, on) in settings {
        let host = serve_with(&small().await.database, variables).await;
        let unknown = get_with(&host, "/nothing", &same_id).await;
        for endpoint in off {
            let response = get_with(&host, endpoint.path, &same_id).await;
            assert_eq!(response.status, 404, "{}", endpoint.path);
            assert_eq!(response.body, unknown.body, "{}", endpoint.path);
        }
        for path in on.iter().map(|endpoint| endpoint.path).chain(["/products/1"]) {
            assert_eq!(get(&host, path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn the_files_of_the_page_are_those_that_a_host_serves() {
    let host = small_host().await;
    let dist = support::root().join("page/dist");
    for endpoint in page::ENDPOINTS {
        let file = if endpoint.path == "/" { "/index.html" } else { endpoint.path };
        let content = std::fs::read(dist.join(file.trim_start_matches('/'))).unwrap();
        assert_eq!(get(&host, endpoint.path).await.body, content, "{file}");
    }
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
