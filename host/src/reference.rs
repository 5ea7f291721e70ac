//! The reference: `/openapi.json`, which describes the API, and `/docs`, a page that shows it with Swagger UI. Only hosts
//! serve it; functions leave it to a bucket with the same files.

use http::HeaderName;
use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use shared::{Endpoint, StaticFile};

use crate::embedded::{HEADERS, file, get, send};

/// The policy of the page. It needs nothing inline and nothing of another origin.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE_HEADERS: &[(HeaderName, &str)] =
    &[(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CONTENT_SECURITY_POLICY, POLICY)];

static DESCRIPTION: StaticFile = file!("openapi.json", "application/json", HEADERS);
static PAGE: StaticFile = file!("index.html", "text/html; charset=utf-8", PAGE_HEADERS);
/// The same page for `/docs/`, where relative references lead elsewhere.
static PAGE_BELOW: StaticFile = file!("index-below.html", "text/html; charset=utf-8", PAGE_HEADERS);
static INITIALIZER: StaticFile = file!("initializer.js", "text/javascript; charset=utf-8", HEADERS);
static BUNDLE: StaticFile = file!("swagger-ui-bundle.js", "text/javascript; charset=utf-8", HEADERS);
static STYLES: StaticFile = file!("swagger-ui.css", "text/css; charset=utf-8", HEADERS);
static LICENSE: StaticFile = file!("license.txt", "text/plain; charset=utf-8", HEADERS);

/// The endpoints of the reference.
pub const ENDPOINTS: &[&Endpoint] = &[
    &get("openapi", "/openapi.json", |_, _| send(&DESCRIPTION)),
    &get("docs", "/docs", |_, request| {
        send(if request.uri.path().ends_with('/') { &PAGE_BELOW } else { &PAGE })
    }),
    &get("docs-initializer", "/docs/initializer.js", |_, _| send(&INITIALIZER)),
    &get("docs-bundle", "/docs/swagger-ui-bundle.js", |_, _| send(&BUNDLE)),
    &get("docs-styles", "/docs/swagger-ui.css", |_, _| send(&STYLES)),
    &get("docs-license", "/docs/license.txt", |_, _| send(&LICENSE)),
];

/// The files of the reference for another web server, each with its path below the root. `/docs` is `docs.html`, and
/// `/docs/` is `docs/index.html`, because a folder cannot have the name of a file.
pub const FILES: [(&str, &StaticFile); 7] = [
    ("openapi.json", &DESCRIPTION),
    ("docs.html", &PAGE),
    ("docs/index.html", &PAGE_BELOW),
    ("docs/initializer.js", &INITIALIZER),
    ("docs/swagger-ui-bundle.js", &BUNDLE),
    ("docs/swagger-ui.css", &STYLES),
    ("docs/license.txt", &LICENSE),
];
