//! Entity tags.

use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderValue};

use super::Problem;

/// Returns `W/"<digits>"`: weak, because one tag stands for every coding of the same content.
pub(super) fn etag(digits: &[u8; 16]) -> Result<HeaderValue, Problem> {
    let mut etag = *b"W/\"................\"";
    etag[3..19].copy_from_slice(digits);
    HeaderValue::from_bytes(&etag).map_err(Problem::internal)
}

/// Returns whether `If-None-Match` is `*` or lists the tag, compared weakly. A tag contains no quote, so each text
/// between an odd quote and the next is a tag.
pub(super) fn matches_etag(headers: &HeaderMap, digits: &[u8; 16]) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*" || value.split(|byte| *byte == b'"').skip(1).step_by(2).any(|tag| tag == digits)
    })
}
