//! Requests as handlers read them. This module parses strictly, and invalid input becomes a [`Problem`].

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::{Page, Problem, Timing, TraceParent};

/// The max size of a body, in bytes.
pub const MAX_BODY_BYTES: usize = 1024;

/// The max number of products on a page of the list.
pub const MAX_COUNT: i32 = 1000;

/// The max number of header lines from a client. Headers of proxies ([`is_proxy_header`]) do not count.
pub(crate) const MAX_HEADERS: usize = 100;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request, independent of any transport.
#[derive(Debug)]
pub struct Request {
    /// As sent, so it can be `HEAD`.
    pub method: Method,
    /// As sent: neither decoded nor normalized.
    pub uri: Uri,
    /// As sent.
    pub headers: HeaderMap,
    /// At most [`MAX_BODY_BYTES`].
    pub body: Bytes,
    /// The client's `X-Request-Id`, or a generated one.
    pub id: RequestId,
    /// The trace that it belongs to.
    pub trace_parent: Option<TraceParent>,
    /// The times for the response's `Server-Timing`.
    pub timing: Timing,
    /// The range of the endpoint's parameter in the path.
    pub(crate) parameter: std::ops::Range<usize>,
}

/// The id of a request in the response and the log: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl Request {
    pub(crate) fn new(parts: http::request::Parts, body: Bytes) -> Self {
        let id = RequestId::from_headers(&parts.headers);
        let trace_parent = TraceParent::from_headers(&parts.headers);
        let http::request::Parts { method, uri, headers, .. } = parts;
        Self { method, uri, headers, body, id, trace_parent, timing: Timing::default(), parameter: 0..0 }
    }

    /// Parses the `{product_id}` of the path.
    ///
    /// # Errors
    /// 400 unless [`parse_id`] accepts it.
    pub fn product_id(&self) -> Result<i32, Problem> {
        self.path_id("A product id is a whole number from 1 to 2147483647, without sign or leading zeros.")
    }

    /// Parses the `{sku_id}` of the path.
    ///
    /// # Errors
    /// 400 unless [`parse_id`] accepts it.
    pub fn sku_id(&self) -> Result<i32, Problem> {
        self.path_id("A sku id is a whole number from 1 to 2147483647, without sign or leading zeros.")
    }

    fn path_id(&self, expected: &'static str) -> Result<i32, Problem> {
        let id = self.uri.path().get(self.parameter.clone()).and_then(parse_id);
        id.ok_or(Problem::bad_request(expected))
    }

    /// Returns the decoded values of query parameters. The first of repeated ones counts.
    #[must_use]
    pub fn query<const N: usize>(&self, names: [&str; N]) -> [Option<Cow<'_, str>>; N] {
        let mut values = [const { None }; N];
        for (name, value) in form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes()) {
            if let Some(place) = names.iter().position(|wanted| *wanted == name) {
                values[place].get_or_insert(value);
            }
        }
        values
    }

    /// Parses `page` and `count` of the query. A parameter that is absent or empty has its default, and the first of
    /// repeated ones counts. A `count` above `max_count` becomes `max_count`, because front ends request 5000 to get
    /// everything. Other parameters are ignored.
    ///
    /// # Errors
    /// 400 if one of the two is not a whole number in range.
    pub fn page(&self, max_count: i32) -> Result<Page, Problem> {
        let values = self.query(["page", "count"]);
        let [page, count] = values.map(|value| value.filter(|value| !value.is_empty()));
        let page = page.map_or(Some(1), |page| parse_id(&page));
        let count = count.map_or(Some(5), |count| parse_capped(max_count, &count));
        Ok(Page {
            page: page.ok_or(Problem::bad_request("page is a whole number from 1 to 2147483647."))?,
            count: count.ok_or(Problem::bad_request("count is a whole number from 1 on."))?,
        })
    }

    /// Returns whether `Content-Type` is JSON.
    #[must_use]
    pub fn has_json(&self) -> bool {
        let essence = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    }

    /// Returns whether the client connected with TLS to a proxy in front of this service.
    #[must_use]
    pub fn is_behind_tls(&self) -> bool {
        let scheme =
            self.headers.get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok()?.split(',').next());
        scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }
}

/// Headers that a proxy or API Gateway may add, change or remove.
const PROXY_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// Returns whether a header may differ between transports, because a proxy may change it.
pub(crate) fn is_proxy_header(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || name.starts_with("x-amz") || PROXY_HEADERS.contains(&name)
}

impl RequestId {
    fn from_headers(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(id) if id.to_str().is_ok_and(is_request_id) => Self(id.clone()),
            _ => Self::generate(),
        }
    }

    /// Generates sixteen hex digits. They must be unique, not secret.
    fn generate() -> Self {
        let digits = hex(fastrand::u64(..));
        Self(HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("-"))) // hex digits are always valid
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Returns whether a client's `X-Request-Id` is valid: 1 to 64 of `[A-Za-z0-9._-]`.
#[must_use]
pub fn is_request_id(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(is_allowed)
}

/// Returns whether NGINX rejects a path: it contains an invalid escape or an escaped NUL, or it leads above the root.
pub(crate) fn is_malformed(path: &str) -> bool {
    if !path.bytes().any(|byte| byte == b'%' || byte == b'.') {
        return false;
    }
    let is_escape = |escape: &str| {
        escape
            .get(..2)
            .is_some_and(|digits| digits != "00" && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let mut depth = 0;
    let climbs = path.split('/').skip(1).any(|segment| {
        match segment.replace("%2e", ".").replace("%2E", ".").as_str() {
            "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    });
    climbs || !path.split('%').skip(1).all(is_escape)
}

/// Parses an id: a whole number from 1 to 2147483647, without sign, spaces or leading zeros.
#[must_use]
pub fn parse_id(text: &str) -> Option<i32> {
    if is_positive_decimal(text) { text.parse().ok() } else { None }
}

/// Parses a whole number as [`parse_id`] does, of any number of digits. A number above `max` becomes `max`.
fn parse_capped(max: i32, text: &str) -> Option<i32> {
    is_positive_decimal(text).then(|| text.parse().map_or(max, |number: i32| number.min(max)))
}

fn is_positive_decimal(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the 16 lowercase hex digits of a number.
pub(crate) fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Request::new(request.body(()).unwrap().into_parts().0, Bytes::new())
    }

    #[test]
    fn ids_are_parsed_strictly() {
        assert_eq!(parse_id("1"), Some(1));
        assert_eq!(parse_id("2147483647"), Some(i32::MAX));
        for text in
            ["", "0", "007", "-1", "+1", " 1", "1 ", "5.55", "1e3", "abc", "٣", "2147483648", "99999999999"]
        {
            assert_eq!(parse_id(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_has_defaults_and_ignores_other_parameters() {
        assert_eq!(request("/products", &[]).page(MAX_COUNT).unwrap(), Page { page: 1, count: 5 });
        let page = request("/products?a=&page=3&a&count=1000&Page=x", &[]).page(MAX_COUNT).unwrap();
        assert_eq!(page, Page { page: 3, count: 1000 });
    }

    #[test]
    fn an_empty_parameter_has_its_default_and_the_first_of_repeated_ones_counts() {
        for (query, page, count) in [
            ("page=&count=", 1, 5),
            ("page&count", 1, 5),
            ("page=2&page=3&count=7&count=x", 2, 7),
            ("page=&page=3", 1, 5),
        ] {
            assert_eq!(
                request(&format!("/products?{query}"), &[]).page(MAX_COUNT).unwrap(),
                Page { page, count },
                "{query}"
            );
        }
    }

    #[test]
    fn a_count_above_the_limit_becomes_the_limit() {
        let long = "9".repeat(4000);
        for count in ["1000", "1001", "5000", "2147483648", "99999999999999999999", &long] {
            let page = request(&format!("/products?count={count}"), &[]).page(MAX_COUNT).unwrap();
            assert_eq!(page, Page { page: 1, count: 1000 }, "{count}");
        }
    }

    #[test]
    fn a_page_or_count_that_is_not_a_whole_number_in_range_is_a_bad_request() {
        for query in [
            "count=0",
            "count=-1",
            "count=01001",
            "count=1e3",
            "page=2147483648",
            "page=+1",
            "page=%00",
            "page=0&page=1",
        ] {
            request(&format!("/products?{query}"), &[]).page(MAX_COUNT).unwrap_err();
        }
    }

    #[test]
    fn a_valid_request_id_of_the_client_is_kept() {
        let max_length = "x".repeat(64);
        for id in ["a", "Az09._-", &max_length] {
            assert_eq!(request("/", &[("x-request-id", id)]).id.as_str(), id);
        }
        let too_long = "x".repeat(65);
        for id in ["", "a b", "a\"b", &too_long] {
            let generated = request("/", &[("x-request-id", id)]).id;
            assert!(generated.as_str() != id && generated.as_str().len() == 16, "{id}");
        }
        assert_ne!(request("/", &[]).id.as_str(), request("/", &[]).id.as_str());
    }

    #[test]
    fn a_path_with_an_invalid_escape_or_above_the_root_is_malformed() {
        for path in
            ["/%zz", "/%", "/a%2", "/%00", "/%0", "/..", "/a/../..", "/%2e%2E/a", "/./..", "/../products"]
        {
            assert!(is_malformed(path), "{path}");
        }
        for path in
            ["/", "/products/1", "/a%20b", "/a/..", "/a/../b", "/a...", "/.", "/a/%2e%2e/b", "/%e9", "//.."]
        {
            assert!(!is_malformed(path), "{path}");
        }
    }

    #[test]
    fn json_is_recognized_by_its_media_type() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/json-patch+json", false),
            ("", false),
        ] {
            assert_eq!(request("/", &[("content-type", value)]).has_json(), json, "{value}");
        }
        assert!(!request("/", &[]).has_json());
    }
}
