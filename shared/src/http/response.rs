//! Responses of handlers, and how they become HTTP: content coding, `ETag` and 304, caching, CORS.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AGE, ALLOW, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LINK, RETRY_AFTER, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::http::document::{Content, Document, GZIP_ABOVE_BYTES};
use crate::http::encoding;
use crate::http::etag::{etag, matches_etag};
use crate::http::memory::{LARGE_ABOVE_BYTES, MemoryBudget};
use crate::http::page::Page;
use crate::http::problem::{Problem, RETRY_AFTER_SECONDS};
use crate::http::request::{Request, X_REQUEST_ID, hex};
use crate::http::static_file::StaticFile;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The max length of a category in `Link`, which has it four times with up to three bytes for each of its bytes. Proxies
/// refuse a response with 4 KiB of headers.
const MAX_LINKED_BYTES: usize = 200;

const PUBLIC: &str = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400";

/// The `Access-Control-Allow-Methods` header of every path: the methods of the whole service.
pub const CORS_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

/// A successful response of a handler. An error response is a [`Problem`].
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    content_type: &'static str,
    content: Content,
    /// XXH3-64 of the plain body. Clients and proxies may cache a response with a tag, and none without.
    tag: Option<u64>,
    /// The file that this is, which has further headers.
    file: Option<&'static StaticFile>,
    /// How long ago its catalog was last confirmed; `None` if it is not stale.
    stale_for: Option<Duration>,
    /// The number of entries of the whole list, and the `Link` to its pages.
    listed: Option<(i32, Option<String>)>,
    cookie: Option<HeaderValue>,
}

impl Response {
    /// 200 with JSON of the catalog. A gzipped document is sent as it is to clients that accept gzip, and decompressed
    /// for the others.
    #[must_use]
    pub fn document(document: Document) -> Self {
        let Document { content, tag, stale_for, .. } = document;
        Self { tag: Some(tag), stale_for, content, ..Self::private_json(Bytes::new()) }
    }

    /// 200 with a file, which caches revalidate before each use, because the next release may change it.
    #[must_use]
    pub fn file(file: &'static StaticFile) -> Self {
        Self {
            content_type: file.content_type,
            content: Content::Gzipped(Bytes::from_static(file.gzipped)),
            tag: Some(file.tag),
            file: Some(file),
            ..Self::private_json(Bytes::new())
        }
    }

    /// 200 with a page of the products, or of those of a category, and with `X-Total-Count` and `Link` if the document has
    /// a total. A category that is too long for a header gets no `Link`.
    #[must_use]
    pub fn page(page: Page, category: Option<&str>, document: Document) -> Self {
        let is_short = category.is_none_or(|category| category.len() <= MAX_LINKED_BYTES);
        let listed = document.total.map(|total| (total, is_short.then(|| page.links(category, total))));
        Self { listed, ..Self::document(document) }
    }

    /// 200 with a list that has no pages, and with `X-Total-Count` if the document has a total.
    #[must_use]
    pub fn list(document: Document) -> Self {
        Self { listed: document.total.map(|total| (total, None)), ..Self::document(document) }
    }

    /// 200 with JSON that must not be cached.
    #[must_use]
    pub fn private_json(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            content: Content::Plain(body.into()),
            tag: None,
            file: None,
            stale_for: None,
            listed: None,
            cookie: None,
        }
    }

    /// 204.
    #[must_use]
    pub fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, ..Self::private_json(Bytes::new()) }
    }

    /// 201 with the text `Created`.
    #[must_use]
    pub fn created() -> Self {
        let body = Bytes::from_static(b"Created");
        Self { status: StatusCode::CREATED, content_type: "text/plain", ..Self::private_json(body) }
    }

    /// Returns the response with a `Set-Cookie`.
    #[must_use]
    pub fn with_cookie(self, cookie: Option<HeaderValue>) -> Self {
        Self { cookie, ..self }
    }

    /// Decompresses a large body for a client that does not accept gzip, on a thread for blocking work. The plain body
    /// counts against the budget.
    pub(crate) async fn decompress(&mut self, budget: &MemoryBudget) -> Result<(), Problem> {
        if let Content::Gzipped(gzipped) = &self.content {
            let gzipped = gzipped.clone();
            let length = encoding::plain_length(&gzipped).map_err(Problem::internal)?;
            let reservation = budget.reserve(length)?;
            let decompress = move || encoding::gunzip(&gzipped).map(|plain| reservation.attach(plain.into()));
            self.content = Content::Plain(budget.work(decompress).await?.map_err(Problem::internal)?);
        }
        Ok(())
    }

    /// Returns whether [`Self::decompress`] is necessary. A small body is decompressed by [`Self::into_http`].
    pub(crate) fn must_be_decompressed(&self, request: &Request) -> bool {
        matches!(&self.content, Content::Gzipped(_))
            && self.content.plain_length().is_ok_and(|length| length > LARGE_ABOVE_BYTES)
            && !encoding::accepts_gzip(&request.headers)
            && !self.tag.is_some_and(|tag| matches_etag(&request.headers, &hex(tag)))
    }

    pub(crate) fn into_http(self, request: &Request) -> Result<http::Response<Bytes>, Problem> {
        let mut response = empty(self.status);
        let headers = response.headers_mut();
        match self.tag {
            Some(tag) => {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(PUBLIC));
                let digits = hex(tag);
                headers.insert(ETAG, etag(&digits)?);
                if let Some(file) = self.file {
                    file.insert_headers(headers);
                }
                if let Some(stale_for) = self.stale_for {
                    let seconds = stale_for.as_secs();
                    headers.insert(AGE, HeaderValue::from(seconds));
                    headers.insert(CACHE_STATUS, cache_status(seconds)?);
                }
                if let Some((total, links)) = self.listed {
                    headers.insert(X_TOTAL_COUNT, HeaderValue::from(total));
                    if let Some(links) = links {
                        headers.insert(LINK, HeaderValue::try_from(links).map_err(Problem::internal)?);
                    }
                }
                if matches_etag(&request.headers, &digits) {
                    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    return Ok(response);
                }
            }
            None => {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
        if self.status == StatusCode::NO_CONTENT {
            return Ok(response);
        }
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(cookie) = self.cookie {
            headers.insert(SET_COOKIE, cookie);
        }
        let (body, is_gzipped) = self.content.encode_for(request)?;
        if is_gzipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        *response.body_mut() = body;
        Ok(response)
    }
}

impl Content {
    /// Returns the body in a coding that the client accepts, and whether that is gzip.
    fn encode_for(self, request: &Request) -> Result<(Bytes, bool), Problem> {
        match self {
            Self::Gzipped(body) if encoding::accepts_gzip(&request.headers) => Ok((body, true)),
            Self::Gzipped(body) => Ok((encoding::gunzip(&body).map_err(Problem::internal)?.into(), false)),
            // A larger one is a document that gzip makes no smaller, or the client does not accept gzip.
            Self::Plain(body)
                if (GZIP_ABOVE_BYTES + 1..=LARGE_ABOVE_BYTES).contains(&body.len())
                    && encoding::accepts_gzip(&request.headers) =>
            {
                Ok(encoding::gzip(&body).map_or((body, false), |gzipped| (gzipped.into(), true)))
            }
            Self::Plain(body) => Ok((body, false)),
        }
    }
}

impl Problem {
    pub(crate) fn to_http(&self, request: &Request) -> http::Response<Bytes> {
        let mut response = empty(self.status);
        *response.body_mut() = self.body(request.id.as_str()).into();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}

/// Returns the 204 for the `OPTIONS` request that a browser sends before a request to another origin.
pub(crate) fn preflight() -> http::Response<Bytes> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(CORS_METHODS));
    // `*` means every header except `Authorization`.
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, *"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Adds the headers of every response, and removes the body of a response to `HEAD`.
pub(crate) fn complete(mut response: http::Response<Bytes>, request: &Request) -> http::Response<Bytes> {
    if request.method == Method::HEAD {
        let length = std::mem::take(response.body_mut()).len();
        if response.status() != StatusCode::NOT_MODIFIED {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, request.id.header());
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    if let Some(timing) = request.timing.header() {
        headers.insert(SERVER_TIMING, timing);
    }
    response
}

/// Returns an empty response with capacity for all headers that a response can have.
fn empty(status: StatusCode) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(12);
    response
}

/// Returns the `Cache-Status` of a stale response: a hit, stale for this many seconds (RFC 9211).
fn cache_status(seconds: u64) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(format!("atelier; hit; ttl=-{seconds}")).map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: u64 = 0xab_0000_0000_0001;

    fn request(method: Method, headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Request::new(request.body(()).unwrap().into_parts().0, Bytes::new())
    }

    fn respond(body: &str, headers: &[(&str, &str)]) -> http::Response<Bytes> {
        let content = Content::compress(body.as_bytes(), GZIP_ABOVE_BYTES);
        let document = Document::new(content, TAG, None);
        Response::document(document).into_http(&request(Method::GET, headers)).unwrap()
    }

    #[test]
    fn a_request_with_the_current_tag_gets_304() {
        for value in [
            "*",
            "W/\"00ab000000000001\"",
            "\"00ab000000000001\"",
            "\"x\", W/\"00ab000000000001\"",
            "\"a,b\",\"00ab000000000001\", \"z\"",
        ] {
            let response = respond("[1]", &[("if-none-match", value)]);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{value}");
            assert_eq!(response.headers()[ETAG], "W/\"00ab000000000001\"");
            assert_eq!(response.headers()[CACHE_CONTROL], PUBLIC);
            assert!(response.body().is_empty());
        }
    }

    #[test]
    fn a_request_with_another_tag_gets_the_body() {
        for value in ["", "00ab000000000001", "W/\"00ab\"", "\"x\" 00ab000000000001 \"y\"", "\"*\""] {
            let response = respond("[1]", &[("if-none-match", value)]);
            assert_eq!(response.status(), StatusCode::OK, "{value}");
            assert_eq!(&response.body()[..], b"[1]");
        }
    }

    #[test]
    fn a_plain_body_above_one_kibibyte_is_gzipped() {
        let long = "long ".repeat(300);
        let gzipped = respond(&long, &[("accept-encoding", "gzip")]);
        assert_eq!(gzipped.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(encoding::gunzip(gzipped.body()).unwrap(), long.as_bytes());
        let plain = respond(&long, &[]);
        assert_eq!(plain.headers().get(CONTENT_ENCODING), None);
        assert_eq!(plain.headers()[VARY], "Accept-Encoding");
        assert_eq!(plain.headers()[ETAG], gzipped.headers()[ETAG]);
        let short = respond("[1]", &[("accept-encoding", "gzip")]);
        assert_eq!(short.headers().get(CONTENT_ENCODING), None);
    }

    #[test]
    fn a_gzipped_body_is_decompressed_for_clients_that_do_not_accept_gzip() {
        let plain = "styles ".repeat(300);
        let gzipped = encoding::gzip(plain.as_bytes()).unwrap();
        let respond = |headers: &[(&str, &str)]| {
            let document = Document::new(Content::Gzipped(gzipped.clone().into()), TAG, None);
            Response::document(document).into_http(&request(Method::GET, headers)).unwrap()
        };
        assert_eq!(respond(&[]).body(), plain.as_bytes());
        assert_eq!(respond(&[("accept-encoding", "gzip")]).body(), &gzipped);
    }

    #[test]
    fn a_page_has_the_total_and_links_also_with_304_but_not_past_the_end() {
        let document = |total| {
            let content = Content::Plain(Bytes::from_static(b"[]"));
            Document { total, ..Document::new(content, TAG, None) }
        };
        let page = Page { page: 2, count: 3 };
        for (known, status) in [("", StatusCode::OK), ("*", StatusCode::NOT_MODIFIED)] {
            let request = request(Method::GET, &[("if-none-match", known)]);
            let response = Response::page(page, None, document(Some(7))).into_http(&request).unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[X_TOTAL_COUNT], "7");
            assert_eq!(response.headers()[LINK], page.links(None, 7).as_str());
        }
        for (category, has_links) in [("x".repeat(200), true), ("x".repeat(201), false)] {
            let response = Response::page(page, Some(&category), document(Some(7)));
            let response = response.into_http(&request(Method::GET, &[])).unwrap();
            assert_eq!(response.headers()[X_TOTAL_COUNT], "7");
            assert_eq!(response.headers().contains_key(LINK), has_links);
        }
        let past = Response::page(page, None, document(None)).into_http(&request(Method::GET, &[])).unwrap();
        assert!(!past.headers().contains_key(X_TOTAL_COUNT) && !past.headers().contains_key(LINK));
    }

    #[test]
    fn a_stale_response_has_its_age() {
        let content = Content::Plain(Bytes::from_static(b"[1]"));
        let confirmed = Document::new(content, TAG, Some(1));
        let stale = Document { stale_for: Some(Duration::from_millis(7_900)), ..confirmed.clone() };
        let headers = |document: Document| {
            let response = Response::document(document).into_http(&request(Method::GET, &[])).unwrap();
            (response.headers().get(AGE).cloned(), response.headers().get(CACHE_STATUS).cloned())
        };
        assert_eq!(headers(confirmed), (None, None));
        let (age, cache_status) = headers(stale);
        assert_eq!(
            (age.unwrap(), cache_status.unwrap()),
            ("7".parse().unwrap(), "atelier; hit; ttl=-7".parse().unwrap())
        );
    }

    #[test]
    fn a_response_to_head_keeps_the_length_of_the_body() {
        let request = request(Method::HEAD, &[]);
        let document = Document::new(Content::Plain(Bytes::from_static(b"[1,2]")), TAG, None);
        let response = complete(Response::document(document).into_http(&request).unwrap(), &request);
        assert_eq!(response.headers()[CONTENT_LENGTH], "5");
        assert!(response.body().is_empty());
    }
}
