//! The product page: a shop over the API, which `make page` builds. Only hosts serve it; functions leave it to a bucket with
//! the same files.

use http::HeaderName;
use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use shared::{Endpoint, StaticFile};

use crate::embedded::{HEADERS, file, get, send};

/// The policy of the page. It needs nothing inline, and only pictures from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE_HEADERS: &[(HeaderName, &str)] =
    &[(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CONTENT_SECURITY_POLICY, POLICY)];

/// The page itself.
pub static PAGE: StaticFile = file!("page-index.html", "text/html; charset=utf-8", PAGE_HEADERS);
static SCRIPT: StaticFile = file!("page-app.js", "text/javascript; charset=utf-8", HEADERS);
static STYLES: StaticFile = file!("page-app.css", "text/css; charset=utf-8", HEADERS);

/// The endpoints of the page.
pub const ENDPOINTS: &[&Endpoint] = &[
    &get("page", "/", |_, _| send(&PAGE)),
    &get("page-script", "/page/app.js", |_, _| send(&SCRIPT)),
    &get("page-styles", "/page/app.css", |_, _| send(&STYLES)),
];
