//! The headers of responses, as components of openapi.json.

use serde_json::Value;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{ComponentsBuilder, Ref};

use crate::schemas::{REQUEST_ID, constant, integer, pattern, text};

/// A header of a response, and whether each such response has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHeader {
    /// The header: `ETag`.
    pub(crate) name: &'static str,
    /// The component, which differs from the name where a header has two descriptions.
    component: &'static str,
    /// Whether each response that documents it has it.
    pub(crate) is_required: bool,
    description: &'static str,
    schema: fn() -> ObjectBuilder,
    example: &'static str,
}

const fn required(
    name: &'static str,
    description: &'static str,
    schema: fn() -> ObjectBuilder,
) -> ResponseHeader {
    ResponseHeader { name, component: name, is_required: true, description, schema, example: "" }
}

const fn optional(
    name: &'static str,
    description: &'static str,
    schema: fn() -> ObjectBuilder,
) -> ResponseHeader {
    ResponseHeader { is_required: false, ..required(name, description, schema) }
}

impl ResponseHeader {
    const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    const fn component(self, component: &'static str) -> Self {
        Self { component, ..self }
    }
}

const X_REQUEST_ID: ResponseHeader = required(
    "X-Request-Id",
    "The id of the request in the log: the client's `X-Request-Id` if it is valid, or else a generated one.",
    || pattern(REQUEST_ID),
)
.example("905ba51525315f63");

const ALLOW_ORIGIN: ResponseHeader =
    required("Access-Control-Allow-Origin", "Every origin.", || constant("*"));

const EXPOSE_HEADERS: ResponseHeader =
    required("Access-Control-Expose-Headers", "Every header.", || constant("*"));

const SERVER_TIMING: ResponseHeader = optional(
    "Server-Timing",
    "How many milliseconds the request waited for the database. A response from the cache does not have it.",
    || pattern("^db;dur=[0-9]+(\\.[0-9]+)?$"),
)
.example("db;dur=0.9");

const PUBLIC: ResponseHeader = required("Cache-Control", "How long caches may keep the response.", || {
    constant("public, max-age=60, stale-while-revalidate=600, stale-if-error=86400")
})
.component("Cache-Control-Public");

const NO_STORE: ResponseHeader =
    required("Cache-Control", "No cache may keep the response.", || constant("no-store"))
        .component("Cache-Control-No-Store");

const VARY: ResponseHeader =
    required("Vary", "The body depends on this header of the request.", || constant("Accept-Encoding"));

const CONTENT_ENCODING: ResponseHeader =
    optional("Content-Encoding", "The coding of the body, if the client accepts it.", || constant("gzip"));

const ETAG: ResponseHeader = required(
    "ETag",
    "The content's tag, for `If-None-Match`. It is the same in every coding, and stays the same if a new catalog \
     does not change the content.",
    || pattern("^W/\"[0-9a-f]{16}\"$"),
)
.example("W/\"31bbcd58cdea06d7\"");

const AGE: ResponseHeader = optional(
    "Age",
    "Only while the database is unavailable: how many seconds ago the host last confirmed the catalog.",
    || integer(0, i32::MAX),
)
.example("7");

const CACHE_STATUS: ResponseHeader =
    optional("Cache-Status", "Only with `Age`: a stale response from the cache (RFC 9211).", || {
        pattern("^atelier; hit; ttl=-[0-9]+$")
    })
    .example("atelier; hit; ttl=-7");

const X_TOTAL_COUNT: ResponseHeader = optional(
    "X-Total-Count",
    "The number of products in the catalog, or in the category. A page past the end, a search and cards by id do not have \
     it.",
    || integer(0, i32::MAX),
)
.example("7");

const X_LIST_COUNT: ResponseHeader =
    optional("X-Total-Count", "The number of categories, of which the list has at most 1,000.", || {
        integer(0, i32::MAX)
    })
    .component("X-Total-Count-Categories")
    .example("7");

const LINK: ResponseHeader = optional(
    "Link",
    "The pages `first`, `prev`, `next` and `last` (RFC 8288), relative to the request's URL. A page past the end, a \
     search and cards by id do not have it, nor does a page of a category with a name of more than 200 bytes.",
    text,
)
.example("<?page=1&count=3>; rel=\"first\", <?page=3&count=3>; rel=\"next\", <?page=3&count=3>; rel=\"last\"");

const SET_COOKIE: ResponseHeader = optional(
    "Set-Cookie",
    "The session that identifies the cart from now on, if the client sent neither `Authorization` nor a session that \
     the service knows.",
    || pattern("^(__Host-)?atelier_session="),
)
.example("atelier_session=0123456789abcdef0123456789abcdef; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax");

const RETRY_AFTER: ResponseHeader =
    required("Retry-After", "The seconds to wait before a retry.", || integer(1, i32::MAX)).example("1");

const ALLOW: ResponseHeader =
    required("Allow", "The methods of the path.", text).example("GET, HEAD, OPTIONS");

const ALLOW_METHODS: ResponseHeader =
    required("Access-Control-Allow-Methods", "The methods of the whole service.", || {
        constant(shared::http::response::CORS_METHODS)
    });

const ALLOW_HEADERS: ResponseHeader =
    required("Access-Control-Allow-Headers", "Every header.", || constant("authorization, *"));

const MAX_AGE: ResponseHeader =
    required("Access-Control-Max-Age", "How many seconds a browser may keep this response.", || {
        constant("86400")
    });

/// The headers of a 200 of the catalog.
pub(crate) const CATALOG: &[ResponseHeader] = &[
    X_REQUEST_ID,
    ALLOW_ORIGIN,
    EXPOSE_HEADERS,
    SERVER_TIMING,
    PUBLIC,
    VARY,
    ETAG,
    AGE,
    CACHE_STATUS,
    CONTENT_ENCODING,
];

/// The headers of a 200 with a page of the list.
pub(crate) const PAGE: &[ResponseHeader] = &[
    X_REQUEST_ID,
    ALLOW_ORIGIN,
    EXPOSE_HEADERS,
    SERVER_TIMING,
    PUBLIC,
    VARY,
    ETAG,
    AGE,
    CACHE_STATUS,
    CONTENT_ENCODING,
    X_TOTAL_COUNT,
    LINK,
];

/// The headers of a 304.
pub(crate) const NOT_MODIFIED: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, PUBLIC, VARY, ETAG, AGE, CACHE_STATUS];

/// The headers of a 200 with a list that has no pages.
pub(crate) const LIST: &[ResponseHeader] = &[
    X_REQUEST_ID,
    ALLOW_ORIGIN,
    EXPOSE_HEADERS,
    SERVER_TIMING,
    PUBLIC,
    VARY,
    ETAG,
    AGE,
    CACHE_STATUS,
    CONTENT_ENCODING,
    X_LIST_COUNT,
];

/// The headers of a 304 instead of such a list.
pub(crate) const LIST_NOT_MODIFIED: &[ResponseHeader] = &[
    X_REQUEST_ID,
    ALLOW_ORIGIN,
    EXPOSE_HEADERS,
    SERVER_TIMING,
    PUBLIC,
    VARY,
    ETAG,
    AGE,
    CACHE_STATUS,
    X_LIST_COUNT,
];

/// The headers of a 304 instead of a page of the list.
pub(crate) const PAGE_NOT_MODIFIED: &[ResponseHeader] = &[
    X_REQUEST_ID,
    ALLOW_ORIGIN,
    EXPOSE_HEADERS,
    SERVER_TIMING,
    PUBLIC,
    VARY,
    ETAG,
    AGE,
    CACHE_STATUS,
    X_TOTAL_COUNT,
    LINK,
];

/// The headers of a response with JSON that no cache may keep.
pub(crate) const PRIVATE: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, NO_STORE, VARY, CONTENT_ENCODING];

/// The headers of a response to an addition to a cart.
pub(crate) const ADDED: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, NO_STORE, VARY, SET_COOKIE];

/// The headers of a response with the line of a cart that was set.
pub(crate) const SET: &[ResponseHeader] = &[
    X_REQUEST_ID,
    ALLOW_ORIGIN,
    EXPOSE_HEADERS,
    SERVER_TIMING,
    NO_STORE,
    VARY,
    CONTENT_ENCODING,
    SET_COOKIE,
];

/// The headers of a 204 from a handler.
pub(crate) const NO_CONTENT: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, NO_STORE];

/// The headers of a response to `OPTIONS`.
pub(crate) const PREFLIGHT: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, ALLOW_METHODS, ALLOW_HEADERS, MAX_AGE];

/// The headers of a problem.
pub(crate) const PROBLEM: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, NO_STORE];

/// The headers of a problem after which a retry may succeed.
pub(crate) const RETRYABLE: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, NO_STORE, RETRY_AFTER];

/// The headers of a 405.
pub(crate) const NOT_ALLOWED: &[ResponseHeader] =
    &[X_REQUEST_ID, ALLOW_ORIGIN, EXPOSE_HEADERS, SERVER_TIMING, NO_STORE, ALLOW];

/// Adds the component of each header.
pub(crate) fn add_components(components: ComponentsBuilder) -> ComponentsBuilder {
    let all = [CATALOG, PAGE, LIST, NO_CONTENT, ADDED, PREFLIGHT, RETRYABLE, NOT_ALLOWED].concat();
    all.into_iter()
        .fold(components, |components, header| components.header(header.component, header.to_header()))
}

impl ResponseHeader {
    /// Returns the component's name and a reference to it.
    pub(crate) fn reference(&self) -> Ref {
        Ref::new(format!("#/components/headers/{}", self.component))
    }

    fn to_header(self) -> Header {
        let required: Option<Extensions> = // utoipa has no field for it, and an extension is serialized as it is
            self.is_required.then(|| [("required", true)].into_iter().collect());
        let example = (!self.example.is_empty()).then(|| self.example_value());
        HeaderBuilder::new()
            .description(Some(self.description))
            .schema(Some((self.schema)()))
            .example(example)
            .extensions(required)
            .build()
    }

    /// Returns the example as a value of the header's type.
    fn example_value(self) -> Value {
        self.example.parse::<i32>().map_or_else(|_| self.example.into(), Value::from)
    }
}
