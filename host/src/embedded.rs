//! Files that are part of the host: build.rs has compressed them, and endpoints serve them.

use std::future::ready;

use http::HeaderName;
use http::header::X_CONTENT_TYPE_OPTIONS;
use shared::endpoint::{ALLOW_GET, Handler, HandlerFuture, Method};
use shared::{Endpoint, Response, StaticFile};

/// The headers of a file that is not a page.
pub(crate) const HEADERS: &[(HeaderName, &str)] = &[(X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// A file of `OUT_DIR`, with its content type and further headers.
macro_rules! file {
    ($name:literal, $content_type:literal, $headers:expr) => {
        ::shared::StaticFile {
            content_type: $content_type,
            gzipped: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
            tag: include!(concat!(env!("OUT_DIR"), "/", $name, ".tag")),
            headers: $headers,
        }
    };
}
pub(crate) use file;

pub(crate) const fn get(name: &'static str, path: &'static str, handler: Handler) -> Endpoint {
    Endpoint { name, method: Method::Get, path, query: &[], allow: ALLOW_GET, handler }
}

pub(crate) fn send(file: &'static StaticFile) -> HandlerFuture<'static> {
    Box::pin(ready(Ok(Response::file(file))))
}
