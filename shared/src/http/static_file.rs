//! Files that are part of a program, such as those of a page.

use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderMap, HeaderValue};

/// A file that is part of the program.
#[derive(Debug)]
pub struct StaticFile {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its content, as one gzip member.
    pub gzipped: &'static [u8],
    /// XXH3-64 of the plain content.
    pub tag: u64,
    /// Headers that only this file has, with valid values.
    pub headers: &'static [(HeaderName, &'static str)],
}

impl StaticFile {
    /// Inserts the headers that responses of the catalog lack or have otherwise. A 304 has them too, because they can
    /// change without the content.
    pub(crate) fn insert_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for (name, value) in self.headers {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
