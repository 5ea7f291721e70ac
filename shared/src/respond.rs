//! Everything around a handler, the same on every transport: routing, the timeout, panics, and the headers of every
//! response.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, poll};
use http::{HeaderMap, Method};

use crate::app::App;
use crate::database::error_chain;
use crate::endpoint::{Endpoint, Route, route};
use crate::http::TraceParent;
use crate::http::problem::Problem;
use crate::http::request::{MAX_BODY_BYTES, MAX_HEADERS, Request, RequestId, is_malformed, is_proxy_header};
use crate::http::response::{self, Response};

/// A complete response, and what the log needs to know about it.
#[derive(Debug)]
pub struct Outcome {
    /// The response with its whole body.
    pub response: http::Response<Bytes>,
    /// The path template of the endpoint; `None` if no endpoint has the path.
    pub route: Option<&'static str>,
    /// The id of the request.
    pub request_id: RequestId,
    /// The trace that the request belongs to.
    pub trace_parent: Option<TraceParent>,
    /// How long the request waited for the database.
    pub database: Duration,
    /// Whether the service shed load: the response is the 503 of a full queue or an exhausted memory budget.
    pub is_shed: bool,
}

/// Responds to a request with one of `endpoints`, whose handler has this timeout. Every failure becomes a problem, even
/// a panic.
///
/// A transport need not read more of a body than one byte over [`MAX_BODY_BYTES`]: that is enough to reject it.
pub async fn respond(
    app: &App,
    endpoints: &[&Endpoint],
    request: http::Request<Bytes>,
    timeout: Duration,
) -> Outcome {
    let (parts, body) = request.into_parts();
    let mut request = Request::new(parts, body);
    let found = route(endpoints, &request.method, request.uri.path());
    let path = found.path();
    let response = match respond_before_handler(&request, &found) {
        Some(response) => response,
        None => match found {
            Route::Endpoint(endpoint, parameter) => {
                request.parameter = parameter;
                let mut response = handle(app, &endpoint, &request, timeout).await;
                if let Ok(large) = &mut response
                    && large.must_be_decompressed(&request)
                    && let Err(problem) = large.decompress(app.catalog.memory_budget()).await
                {
                    response = Err(problem);
                }
                response.and_then(|response| response.into_http(&request))
            }
            Route::MethodNotAllowed(endpoint) => Err(Problem::method_not_allowed(endpoint.allow)),
            Route::NotFound => Err(no_such_path()),
        },
    };
    finish(response, request, path)
}

/// Responds to a request whose path no endpoint has, as [`respond`] does.
#[must_use]
pub fn respond_not_found(request: http::Request<Bytes>) -> Outcome {
    let (parts, body) = request.into_parts();
    let request = Request::new(parts, body);
    let response = respond_before_handler(&request, &Route::NotFound).unwrap_or_else(|| Err(no_such_path()));
    finish(response, request, None)
}

/// Responds with a problem to a request that its transport could not read completely.
#[must_use]
pub fn reject(endpoints: &[&Endpoint], parts: http::request::Parts, problem: Problem) -> Outcome {
    let request = Request::new(parts, Bytes::new());
    let path = route(endpoints, &request.method, request.uri.path()).path();
    finish(Err(problem), request, path)
}

/// Returns the response of a request that no handler needs to see: to `OPTIONS`, or a problem of the request itself.
fn respond_before_handler(
    request: &Request,
    found: &Route,
) -> Option<Result<http::Response<Bytes>, Problem>> {
    if request.body.len() > MAX_BODY_BYTES {
        return Some(Err(Problem::body_too_large()));
    }
    if has_too_many_headers(&request.headers) {
        return Some(Err(Problem::headers_too_large()));
    }
    // The path of an endpoint cannot be malformed: its template matches literally, and its parameter is parsed
    // strictly.
    if !matches!(found, Route::Endpoint(..)) && is_malformed(request.uri.path()) {
        return Some(Err(Problem::bad_request("The path of the request is malformed.")));
    }
    (request.method == Method::OPTIONS).then(|| Ok(response::preflight()))
}

fn has_too_many_headers(headers: &HeaderMap) -> bool {
    headers.len() > MAX_HEADERS
        && headers.iter().filter(|(name, _)| !is_proxy_header(name)).count() > MAX_HEADERS
}

fn no_such_path() -> Problem {
    Problem::not_found("There is nothing at this path.")
}

async fn handle(
    app: &App,
    endpoint: &Endpoint,
    request: &Request,
    timeout: Duration,
) -> Result<Response, Problem> {
    // A panic leaves nothing in `app` half changed.
    let mut handler = pin!(AssertUnwindSafe(async { (endpoint.handler)(app, request).await }).catch_unwind());
    // A cached response is ready at once and needs no timer.
    let result = match poll!(&mut handler) {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => tokio::time::timeout(timeout, handler).await,
    };
    match result {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Err(Problem::panic()), // the panic hook has logged it
        Err(_) => Err(Problem::unavailable("The answer was not ready in time.")),
    }
}

fn finish(
    response: Result<http::Response<Bytes>, Problem>,
    request: Request,
    route: Option<&'static str>,
) -> Outcome {
    let is_shed = response.as_ref().is_err_and(|problem| problem.is_shed);
    let response = response.unwrap_or_else(|problem| {
        if let Some(cause) = &problem.cause {
            let cause = error_chain(&**cause);
            tracing::error!(
                request_id = request.id.as_str(),
                trace_id = request.trace_parent.as_ref().map(TraceParent::trace_id),
                route,
                error = cause,
                cause, // the field's name in the previous release
                "request failed"
            );
        }
        problem.to_http(&request)
    });
    let database = request.timing.database_time();
    let response = response::complete(response, &request);
    let Request { id: request_id, trace_parent, .. } = request;
    Outcome { response, route, request_id, trace_parent, database, is_shed }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};

    use super::*;
    use crate::config::HostConfig;
    use crate::endpoint::{ALLOW_CART, ALLOW_GET, Method as EndpointMethod};

    const fn reading(path: &'static str, handler: crate::endpoint::Handler) -> Endpoint {
        Endpoint { name: "tested", method: EndpointMethod::Get, path, query: &[], allow: ALLOW_GET, handler }
    }

    const PRODUCT: Endpoint = reading("/products/{product_id}", |app, request| {
        Box::pin(async {
            let product = app.catalog.product(request.product_id()?, &request.timing).await?;
            product.map(Response::document).ok_or(Problem::no_such_product())
        })
    });
    const FIXED: Endpoint =
        reading("/fixed", |_, _| Box::pin(async { Ok(Response::private_json(r#"{"fixed":true}"#)) }));
    const FAULTY: Endpoint = reading("/faulty", |_, _| Box::pin(async { panic!("s3cret") }));
    const ENDLESS: Endpoint = reading("/endless", |_, _| Box::pin(std::future::pending()));
    const CART: Endpoint = Endpoint { path: "/cart", allow: ALLOW_CART, ..FIXED };

    /// An app without a reachable database.
    fn app() -> App {
        let config = HostConfig::from_lookup(&|name| match name {
            "DATABASE_URL" => Some("host=/nowhere user=nobody".to_owned()),
            _ => None,
        });
        let config = config.unwrap();
        App::start(&config.database, &config.requests)
    }

    async fn send(method: &str, path: &str) -> http::Response<Bytes> {
        let request = http::Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let endpoints = [&PRODUCT, &FIXED, &FAULTY, &ENDLESS, &CART];
        let outcome = respond(&app(), &endpoints, request, Duration::from_millis(50)).await;
        assert_eq!(outcome.response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(outcome.response.headers()["x-request-id"], outcome.request_id.as_str());
        outcome.response
    }

    #[tokio::test]
    async fn without_a_database_the_response_is_503_at_once() {
        let response = send("GET", "/products/1").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_causes_503() {
        let response = send("GET", "/endless").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn a_panic_causes_500_without_its_message() {
        let response = send("GET", "/faulty").await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!String::from_utf8_lossy(response.body()).contains("s3cret"));
    }

    #[tokio::test]
    async fn an_unknown_path_is_404_and_an_unknown_method_is_405() {
        assert_eq!(send("GET", "/").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(send("PUT", "/elsewhere").await.status(), StatusCode::NOT_FOUND);
        for (path, allow) in [("/fixed/", "GET, HEAD, OPTIONS"), ("/cart", ALLOW_CART)] {
            let response = send("PUT", path).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()[ALLOW], allow);
        }
    }

    #[tokio::test]
    async fn respond_not_found_equals_the_response_to_a_path_without_an_endpoint() {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            for body in ["", &"x".repeat(1025)] {
                let request = || {
                    let request = http::Request::builder().method(method).uri("/elsewhere");
                    request.header("x-request-id", "1").body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
                };
                let expected = respond(&app(), &[&FIXED], request(), Duration::from_secs(1)).await.response;
                let without = respond_not_found(request()).response;
                assert_eq!(format!("{expected:?}"), format!("{without:?}"));
            }
        }
    }

    #[tokio::test]
    async fn options_returns_204_on_any_path() {
        for path in ["/fixed", "/elsewhere"] {
            let response = send("OPTIONS", path).await;
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            assert_eq!(response.headers()["access-control-max-age"], "86400");
        }
    }

    #[tokio::test]
    async fn head_returns_the_headers_of_get_without_the_body() {
        let response = send("HEAD", "/fixed").await;
        assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
        assert_eq!(response.headers()[CONTENT_LENGTH], "14");
        assert_eq!(send("GET", "/fixed").await.body().len(), 14);
    }
}
