//! Checks of what only hosts serve: the product page, and the reference `/openapi.json` and `/docs`.

use bytes::Bytes;
use http::Request;

use crate::{CheckedResponse, Transport, get, get_with, send};

/// The pages, with the number of files that each one refers to.
const PAGES: [(&str, usize); 3] = [("/", 2), ("/docs", 5), ("/docs/", 5)];

/// The paths, with their content types.
const FILES: [(&str, &str); 10] = [
    ("/", "text/html; charset=utf-8"),
    ("/page/app.js", "text/javascript; charset=utf-8"),
    ("/page/app.css", "text/css; charset=utf-8"),
    ("/docs", "text/html; charset=utf-8"),
    ("/docs/", "text/html; charset=utf-8"),
    ("/docs/initializer.js", "text/javascript; charset=utf-8"),
    ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
    ("/docs/license.txt", "text/plain; charset=utf-8"),
    ("/openapi.json", "application/json"),
];

/// Returns whether a path is that of a page.
pub(crate) fn is_page(path: &str) -> bool {
    PAGES.iter().any(|(page, _)| *page == path)
}

/// Returns the policy of a path: nothing inline, and nothing of another origin but the pictures of products.
fn policy(path: &str) -> String {
    let pictures = match path {
        _ if !is_page(path) => return String::new(),
        "/" => "'self' data: https:",
        _ => "'self' data:",
    };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn assert_headers(response: &CheckedResponse, path: &str) {
    assert_eq!(response.header("cache-control"), "no-cache", "{path}");
    assert_eq!(response.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(response.header("content-security-policy"), policy(path), "{path}");
}

/// A function's 404 is that of any unknown path.
pub async fn hosts_serve_pages_and_functions_return_404<T: Transport>(service: &T) {
    let detail = |response: &CheckedResponse| {
        let problem: serde_json::Value = serde_json::from_str(&response.text()).unwrap();
        problem["detail"].clone()
    };
    for (path, content_type) in FILES {
        let response = get(service, path).await;
        if T::HAS_PAGES {
            assert_eq!(response.status, 200, "{path}");
            assert_eq!(response.header("content-type"), content_type, "{path}");
            assert_headers(&response, path);
        } else {
            assert_eq!(response.status, 404, "{path}");
            assert_eq!(detail(&response), detail(&get(service, "/nothing").await), "{path}");
        }
    }
    if T::HAS_PAGES {
        let description: serde_json::Value =
            serde_json::from_str(&get(service, "/openapi.json").await.text()).unwrap();
        assert!(description["openapi"].as_str().unwrap().starts_with("3.1."), "{description}");
        assert!(description["paths"]["/products/{product_id}"]["get"].is_object(), "{description}");
    }
}

/// Resolves a relative reference of a page, as a browser does.
fn resolve(page: &str, reference: &str) -> String {
    let (folder, _) = page.rsplit_once('/').unwrap();
    match reference.strip_prefix("../") {
        Some(rest) => format!("{}/{rest}", folder.rsplit_once('/').unwrap().0),
        None => format!("{folder}/{reference}"),
    }
}

/// References are relative, so that they also hold below a base path.
pub async fn pages_refer_to_files_that_the_service_has<T: Transport>(service: &T) {
    for (page, files) in PAGES.into_iter().filter(|_| T::HAS_PAGES) {
        let html = get(service, page).await.text();
        let references = html
            .split([' ', '\n'])
            .filter_map(|part| part.strip_prefix("href=\"").or(part.strip_prefix("src=\"")));
        let references: Vec<&str> = references
            .map(|rest| rest.split('"').next().unwrap())
            // An empty reference is that of the page itself.
            .filter(|one| {
                !one.is_empty() && !["data:", "#", "?", "./"].iter().any(|other| one.starts_with(other))
            })
            .collect();
        assert_eq!(references.len(), files, "{html}");
        for reference in references {
            assert!(!reference.starts_with('/') && !reference.contains("//"), "{reference}");
            let path = resolve(page, reference);
            assert_eq!(get(service, &path).await.status, 200, "{page}: {path}");
        }
        assert!(
            !html.contains("<style") && !html.contains("<script>") && !html.contains(" style="),
            "{html}"
        );
    }
}

/// A 304 repeats the headers, because a policy can change without the content.
pub async fn files_have_tags_and_are_gzipped<T: Transport>(service: &T) {
    for (path, _) in FILES.into_iter().filter(|_| T::HAS_PAGES) {
        let plain = get(service, path).await;
        let gzipped = get_with(service, path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        assert_eq!(gzipped.header("content-encoding"), "gzip", "{path}");
        assert_eq!(gzipped.plain(), plain.body, "{path}");
        assert_eq!(plain.header("vary"), "Accept-Encoding", "{path}");
        let tag = plain.header("etag");
        assert!(tag.starts_with("W/\"") && tag == gzipped.header("etag"), "{path}: {tag}");
        let known = get_with(service, path, &[("if-none-match", tag)]).await;
        assert_eq!(known.status, 304, "{path}");
        assert_eq!(known.header("etag"), tag, "{path}");
        assert_headers(&known, path);
    }
}

/// `HEAD`, `OPTIONS`, and 405 for others.
pub async fn files_have_the_methods_of_any_read_only_path<T: Transport>(service: &T) {
    for (path, content_type) in FILES.into_iter().filter(|_| T::HAS_PAGES) {
        let request = async |method: &str| {
            send(service, Request::builder().method(method).uri(path).body(Bytes::new()).unwrap()).await
        };
        let head = request("HEAD").await;
        assert_eq!((head.status.as_u16(), head.header("content-type")), (200, content_type), "{path}");
        assert_eq!(head.header("content-length"), get(service, path).await.body.len().to_string(), "{path}");
        assert_headers(&head, path);
        assert_eq!(request("OPTIONS").await.status, 204, "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            let response = request(method).await;
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.header("allow"), "GET, HEAD, OPTIONS", "{method} {path}");
        }
    }
}
