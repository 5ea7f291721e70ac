//! The problems of the service and of its load balancer, as components of openapi.json.

use atelier_host::ENDPOINTS;
use http::{HeaderValue, Request};
use shared::endpoint::ALLOW_GET;
use shared::{Outcome, Problem};

use crate::body::Body;
use crate::contract;
use crate::headers::{NOT_ALLOWED, PROBLEM, RETRYABLE, ResponseHeader};

/// The schema of each problem's body.
pub(crate) const BODY: Body = Body::of::<contract::Problem>();

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// The request id of the examples.
const REQUEST_ID: &str = "905ba51525315f63";

/// A status that is a problem.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) status: u16,
    /// The name of its component.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) headers: &'static [ResponseHeader],
    example: Example,
}

/// The source of an example.
#[derive(Debug)]
enum Example {
    /// The service's own problem.
    Service(fn() -> Problem),
    /// The title and the detail that the load balancer's configuration has for a status.
    LoadBalancer(&'static str, &'static str),
}
use Example::{LoadBalancer, Service};

const fn problem(
    status: u16,
    name: &'static str,
    description: &'static str,
    headers: &'static [ResponseHeader],
    example: Example,
) -> Status {
    Status { status, name, description, headers, example }
}

pub(crate) const ALL: [Status; 16] = [
    problem(
        400,
        "BadRequest",
        "An id, a query parameter, the body or the path is malformed.",
        PROBLEM,
        Service(|| {
            Problem::bad_request(
                "A product id is a whole number from 1 to 2147483647, without sign or leading zeros.",
            )
        }),
    ),
    problem(404, "NotFound", "There is no product with this id.", PROBLEM, Service(Problem::no_such_product)),
    problem(
        405,
        "MethodNotAllowed",
        "The path has no such method. `Allow` lists those that it has.",
        NOT_ALLOWED,
        Service(|| Problem::method_not_allowed(ALLOW_GET)),
    ),
    problem(
        408,
        "RequestTimeout",
        "The body did not arrive in time.",
        PROBLEM,
        Service(Problem::body_too_slow),
    ),
    problem(
        413,
        "PayloadTooLarge",
        "The body is larger than 1 KiB.",
        PROBLEM,
        Service(Problem::body_too_large),
    ),
    problem(
        414,
        "URITooLong",
        "The path and the query are longer than 8 KiB.",
        PROBLEM,
        Service(Problem::address_too_long),
    ),
    problem(
        415,
        "UnsupportedMediaType",
        "`Content-Type` is not `application/json`.",
        PROBLEM,
        Service(|| Problem::unsupported_media_type("The body must be application/json.")),
    ),
    problem(
        422,
        "UnprocessableEntity",
        "There is no such sku, or the cart would have more than 1,000 skus, or more than 9,999 pieces of one.",
        PROBLEM,
        Service(|| Problem::unprocessable("There is no sku with this id.")),
    ),
    problem(
        429,
        "TooManyRequests",
        "The load balancer limits the requests of an address.",
        RETRYABLE,
        LoadBalancer("Too Many Requests", "This address has sent too many requests. Try again in a second."),
    ),
    problem(
        431,
        "RequestHeaderFieldsTooLarge",
        "There are more than 100 headers, or they are too large.",
        PROBLEM,
        Service(Problem::headers_too_large),
    ),
    problem(
        500,
        "InternalServerError",
        "A bug in the service.",
        PROBLEM,
        LoadBalancer("Internal Server Error", "The service failed. The fault has been logged."),
    ),
    problem(
        501,
        "NotImplemented",
        "The body has a transfer coding other than `chunked`.",
        PROBLEM,
        Service(Problem::transfer_coding_unknown),
    ),
    problem(
        502,
        "BadGateway",
        "The load balancer received no response. A change to a cart may have been carried out.",
        RETRYABLE,
        LoadBalancer(
            "Bad Gateway",
            "The service gave no answer. A change to a cart may have been carried out all the same.",
        ),
    ),
    problem(
        503,
        "ServiceUnavailable",
        "The database is unavailable, too slow or overloaded, or no catalog is published. A change to a cart may have \
         been carried out.",
        RETRYABLE,
        Service(|| Problem::unavailable("The service has too many requests just now.")),
    ),
    problem(
        504,
        "GatewayTimeout",
        "The load balancer received no response in time. A change to a cart may have been carried out.",
        RETRYABLE,
        LoadBalancer(
            "Gateway Timeout",
            "The service did not answer in time. A change to a cart may have been carried out all the same.",
        ),
    ),
    problem(
        505,
        "HTTPVersionNotSupported",
        "The version of HTTP is not supported.",
        PROBLEM,
        Service(Problem::version_not_supported),
    ),
];

/// The problems that each operation can have, besides its own.
pub(crate) const COMMON: [u16; 13] = [400, 405, 408, 413, 414, 429, 431, 500, 501, 502, 503, 504, 505];

/// The problems of a request with `OPTIONS`, which needs no database.
pub(crate) const PREFLIGHT: [u16; 11] = [400, 408, 413, 414, 429, 431, 501, 502, 503, 504, 505];

pub(crate) fn by_status(status: u16) -> Option<&'static Status> {
    ALL.iter().find(|problem| problem.status == status)
}

impl Status {
    /// Returns the body of an example.
    pub(crate) fn example(&self) -> String {
        match self.example {
            Service(problem) => {
                let mut request = Request::new(());
                request.headers_mut().insert("x-request-id", HeaderValue::from_static(REQUEST_ID));
                let (parts, ()) = request.into_parts();
                let Outcome { response, .. } = shared::reject(ENDPOINTS, parts, problem());
                String::from_utf8_lossy(response.body()).into_owned()
            }
            LoadBalancer(title, detail) => format!(
                r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}","request_id":"{REQUEST_ID}"}}"#,
                self.status
            ),
        }
    }
}
