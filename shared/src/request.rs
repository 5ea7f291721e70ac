//! What handlers read of a request. Everything a client sends is parsed strictly here, and what is wrong with
//! it is a [`Problem`].

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::problem::Problem;

/// What a body may hold at most.
pub const LARGEST_BODY_BYTES: usize = 1024;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request, free of any transport.
#[derive(Debug)]
pub struct Request {
    /// As sent; `HEAD` included.
    pub method: Method,
    /// As sent: never decoded, never normalised.
    pub uri: Uri,
    /// As sent.
    pub headers: HeaderMap,
    /// At most [`LARGEST_BODY_BYTES`].
    pub body: Bytes,
    /// The client's `X-Request-Id`, or one made here.
    pub id: RequestId,
    /// What the answer's `Server-Timing` will say.
    pub timing: Timing,
    /// Where in the path the `{product_id}` of the endpoint's template is.
    pub(crate) product_id: std::ops::Range<usize>,
}

/// Which products a list page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub page: i32,
    /// 1 to 1,000.
    pub count: i32,
}

/// What a request is known by in answers and logs: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

/// How long a request waited for what.
#[derive(Debug, Default)]
pub struct Timing {
    database_ns: AtomicU64,
    from_cache: AtomicBool,
}

impl Request {
    pub(crate) fn new(parts: http::request::Parts, body: Bytes) -> Self {
        let id = RequestId::of(&parts.headers);
        let http::request::Parts { method, uri, headers, .. } = parts;
        Self { method, uri, headers, body, id, timing: Timing::default(), product_id: 0..0 }
    }

    /// The `{product_id}` of the path.
    ///
    /// # Errors
    /// 400 unless it is a whole number as [`whole_number`] reads one.
    pub fn product_id(&self) -> Result<i32, Problem> {
        self.uri.path().get(self.product_id.clone()).and_then(whole_number).ok_or(Problem::bad_request(
            "A product id is a whole number from 1 to 2147483647, without sign or leading zeros.",
        ))
    }

    /// The query's `page` and `count`, or their defaults. Other parameters are ignored.
    ///
    /// # Errors
    /// 400 if one of them is repeated, empty or not a whole number in range.
    pub fn page(&self) -> Result<Page, Problem> {
        let (mut page, mut count) = (None, None);
        for (name, value) in form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes()) {
            let (place, most, problem) = match &*name {
                "page" => (&mut page, i32::MAX, "page is a whole number from 1 to 2147483647, given once."),
                "count" => (&mut count, 1000, "count is a whole number from 1 to 1000, given once."),
                _ => continue,
            };
            let number = whole_number(&value).filter(|number| *number <= most && place.is_none());
            *place = Some(number.ok_or(Problem::bad_request(problem))?);
        }
        Ok(Page { page: page.unwrap_or(1), count: count.unwrap_or(5) })
    }

    /// Whether the body is said to be JSON.
    #[must_use]
    pub fn has_json(&self) -> bool {
        let essence = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    }

    /// Whether the client speaks TLS to whatever stands before this service.
    #[must_use]
    pub fn is_behind_tls(&self) -> bool {
        let scheme =
            self.headers.get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok()?.split(',').next());
        scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }
}

impl Page {
    /// The ranks of the page's first and last product. They may be far past the end of the catalog.
    #[must_use]
    pub fn ranks(self) -> (i64, i64) {
        let (page, count) = (i64::from(self.page), i64::from(self.count));
        ((page - 1) * count + 1, page * count)
    }
}

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        match headers.get(X_REQUEST_ID) {
            Some(id) if (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed) => Self(id.clone()),
            _ => Self::made(),
        }
    }

    /// Sixteen hex digits. They need to differ, not to be secret.
    fn made() -> Self {
        let mut digits = [0; 16];
        let text = hex(fastrand::u64(..), &mut digits);
        Self(HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("-"))) // hex digits always fit
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Timing {
    /// Waits for something the database is asked, and counts the wait as the database's.
    pub async fn database<F: Future>(&self, asked: F) -> F::Output {
        let started = Instant::now();
        let answered = asked.await;
        let waited = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.database_ns.fetch_add(waited, Ordering::Relaxed);
        answered
    }

    /// The answer was kept in memory, and nothing was waited for.
    pub(crate) fn mark_cached(&self) {
        self.from_cache.store(true, Ordering::Relaxed);
    }

    /// How long the database was waited for.
    pub(crate) fn of_database(&self) -> Duration {
        Duration::from_nanos(self.database_ns.load(Ordering::Relaxed))
    }

    /// `cache;desc=hit`, or `db;dur=` and milliseconds, or nothing if neither was asked.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        if self.from_cache.load(Ordering::Relaxed) {
            return Some(HeaderValue::from_static("cache;desc=hit"));
        }
        let microseconds = self.of_database().as_micros();
        if microseconds == 0 {
            return None;
        }
        HeaderValue::try_from(format!("db;dur={}.{:03}", microseconds / 1000, microseconds % 1000)).ok()
    }
}

/// A whole number from 1 to 2147483647 in decimal digits, without sign, spaces or leading zeros.
#[must_use]
pub fn whole_number(text: &str) -> Option<i32> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !text.starts_with('0') { text.parse().ok() } else { None }
}

/// The 16 lowercase hex digits of a number.
pub(crate) fn hex(number: u64, digits: &mut [u8; 16]) -> &[u8] {
    let nibbles = number.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (digit, nibble) in digits.iter_mut().zip(nibbles) {
        *digit = b"0123456789abcdef"[usize::from(nibble)];
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
    fn whole_numbers_are_read_strictly() {
        assert_eq!(whole_number("1"), Some(1));
        assert_eq!(whole_number("2147483647"), Some(i32::MAX));
        for text in
            ["", "0", "007", "-1", "+1", " 1", "1 ", "5.55", "1e3", "abc", "٣", "2147483648", "99999999999"]
        {
            assert_eq!(whole_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_has_defaults_and_ignores_other_parameters() {
        assert_eq!(request("/products", &[]).page().unwrap(), Page { page: 1, count: 5 });
        let page = request("/products?a=&page=3&a&count=1000&Page=x", &[]).page().unwrap();
        assert_eq!(page, Page { page: 3, count: 1000 });
    }

    #[test]
    fn a_page_that_is_out_of_range_or_repeated_is_a_bad_request() {
        for query in [
            "page=",
            "page",
            "count=0",
            "count=1001",
            "page=1&page=1",
            "count=5&count=",
            "page=+1",
            "page=%00",
        ] {
            request(&format!("/products?{query}"), &[]).page().unwrap_err();
        }
    }

    #[test]
    fn the_last_page_there_can_be_has_ranks() {
        let (first, last) = Page { page: i32::MAX, count: 1000 }.ranks();
        assert_eq!((first, last), (2_147_483_646_001, 2_147_483_647_000));
        assert_eq!(Page { page: 1, count: 5 }.ranks(), (1, 5));
    }

    #[test]
    fn a_request_id_is_taken_over_if_it_is_well_formed() {
        let longest = "x".repeat(64);
        for id in ["a", "Az09._-", &longest] {
            assert_eq!(request("/", &[("x-request-id", id)]).id.as_str(), id);
        }
        let too_long = "x".repeat(65);
        for id in ["", "a b", "a\"b", &too_long] {
            let made = request("/", &[("x-request-id", id)]).id;
            assert!(made.as_str() != id && made.as_str().len() == 16, "{id}");
        }
        assert_ne!(request("/", &[]).id.as_str(), request("/", &[]).id.as_str());
    }

    #[test]
    fn json_is_told_by_its_media_type() {
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
