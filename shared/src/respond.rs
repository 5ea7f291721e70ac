//! Everything around a handler, the same on every transport: which endpoint, its time limit, a panic in it,
//! and what every answer carries.

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
use crate::http::problem::Problem;
use crate::http::request::{MAX_BODY_BYTES, MAX_HEADERS, Request, RequestId, is_malformed, is_of_proxies};
use crate::http::response::{self, Response};

/// A finished response, and what the log says about it.
#[derive(Debug)]
pub struct Outcome {
    /// The response; a body it has is complete.
    pub response: http::Response<Bytes>,
    /// The path template of the endpoint; `None` for a path that has none.
    pub route: Option<&'static str>,
    /// What the request is known by.
    pub request_id: RequestId,
    /// How long the database was waited for.
    pub database: Duration,
}

/// Answers a request with one of `endpoints`, whose handler may take `within`. It always answers: what goes
/// wrong is a problem, a panic included.
///
/// A transport need not read more than one byte over [`MAX_BODY_BYTES`] of a body: that is enough for it
/// to be refused.
pub async fn respond(
    app: &App,
    endpoints: &[&Endpoint],
    request: http::Request<Bytes>,
    within: Duration,
) -> Outcome {
    let (parts, body) = request.into_parts();
    let mut request = Request::new(parts, body);
    let found = route(endpoints, &request.method, request.uri.path());
    let path = found.path();
    let response = match respond_regardless_of_path(&request, &found) {
        Some(response) => response,
        None => match found {
            Route::Endpoint(endpoint, parameter) => {
                request.parameter = parameter;
                let answered = handle(app, &endpoint, &request, within).await;
                answered.and_then(|response| response.into_http(&request))
            }
            Route::OtherMethod(endpoint) => Err(Problem::method_not_allowed(endpoint.allow)),
            Route::Nothing => Err(no_such_path()),
        },
    };
    finish(response, request, path)
}

/// Answers a request that none of the endpoints is for, as [`respond`] does for such a path.
#[must_use]
pub fn respond_not_found(request: http::Request<Bytes>) -> Outcome {
    let (parts, body) = request.into_parts();
    let request = Request::new(parts, body);
    let response =
        respond_regardless_of_path(&request, &Route::Nothing).unwrap_or_else(|| Err(no_such_path()));
    finish(response, request, None)
}

/// Answers a request that its transport could not hand over whole.
#[must_use]
pub fn reject(endpoints: &[&Endpoint], parts: http::request::Parts, problem: Problem) -> Outcome {
    let request = Request::new(parts, Bytes::new());
    let path = route(endpoints, &request.method, request.uri.path()).path();
    finish(Err(problem), request, path)
}

/// What is answered before an endpoint is asked.
fn respond_regardless_of_path(
    request: &Request,
    found: &Route,
) -> Option<Result<http::Response<Bytes>, Problem>> {
    if request.body.len() > MAX_BODY_BYTES {
        return Some(Err(Problem::body_too_large()));
    }
    if has_too_many_headers(&request.headers) {
        return Some(Err(Problem::headers_too_large()));
    }
    // An endpoint reads its parameter strictly, and the rest of its path has nothing to be wrong.
    if !matches!(found, Route::Endpoint(..)) && is_malformed(request.uri.path()) {
        return Some(Err(Problem::bad_request("The path of the request is malformed.")));
    }
    (request.method == Method::OPTIONS).then(|| Ok(response::preflight()))
}

fn has_too_many_headers(headers: &HeaderMap) -> bool {
    headers.len() > MAX_HEADERS
        && headers.iter().filter(|(name, _)| !is_of_proxies(name)).count() > MAX_HEADERS
}

fn no_such_path() -> Problem {
    Problem::not_found("There is nothing at this path.")
}

async fn handle(
    app: &App,
    endpoint: &Endpoint,
    request: &Request,
    within: Duration,
) -> Result<Response, Problem> {
    // Handlers change nothing in `app` that a panic could leave half done.
    let mut answering =
        pin!(AssertUnwindSafe(async { (endpoint.handler)(app, request).await }).catch_unwind());
    // From memory the response is there at once, which spares the clock.
    let answered = match poll!(&mut answering) {
        Poll::Ready(answered) => Ok(answered),
        Poll::Pending => tokio::time::timeout(within, answering).await,
    };
    match answered {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => Err(Problem::panic()), // the panic hook has logged where it was
        Err(_) => Err(Problem::unavailable("The answer was not ready in time.")),
    }
}

fn finish(
    response: Result<http::Response<Bytes>, Problem>,
    request: Request,
    route: Option<&'static str>,
) -> Outcome {
    let response = response.unwrap_or_else(|problem| {
        if let Some(cause) = &problem.cause {
            tracing::error!(
                request_id = request.id.as_str(),
                route,
                cause = error_chain(&**cause),
                "cannot answer"
            );
        }
        problem.to_http(&request)
    });
    let database = request.timing.of_database();
    Outcome { response: response::complete(response, &request), route, request_id: request.id, database }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};

    use super::*;
    use crate::config::HostConfig;
    use crate::endpoint::{ALLOW_CART, ALLOW_GET, Method as Answers};

    const fn reading(path: &'static str, handler: crate::endpoint::Handler) -> Endpoint {
        Endpoint { name: "tested", method: Answers::Get, path, query: &[], allow: ALLOW_GET, handler }
    }

    const PRODUCT: Endpoint = reading("/products/{product_id}", |app, request| {
        Box::pin(async {
            let product = app.catalog.product(request.product_id()?, &request.timing).await?;
            product.map(Response::document).ok_or(Problem::no_such_product())
        })
    });
    const FIXED: Endpoint =
        reading("/fixed", |_, _| Box::pin(async { Ok(Response::private_json(r#"{"fixed":true}"#)) }));
    const FAULTY: Endpoint = reading("/faulty", |_, _| Box::pin(async { panic!("out of order") }));
    const ENDLESS: Endpoint = reading("/endless", |_, _| Box::pin(std::future::pending()));
    const CART: Endpoint = Endpoint { path: "/cart", allow: ALLOW_CART, ..FIXED };

    /// An app whose database is not there.
    fn app() -> App {
        let config = HostConfig::from_lookup(&|name| match name {
            "DATABASE_URL" => Some("host=/nowhere user=nobody".to_owned()),
            _ => None,
        });
        let config = config.unwrap();
        App::start(&config.database, &config.requests)
    }

    async fn ask(method: &str, path: &str) -> http::Response<Bytes> {
        let request = http::Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let endpoints = [&PRODUCT, &FIXED, &FAULTY, &ENDLESS, &CART];
        let answer = respond(&app(), &endpoints, request, Duration::from_millis(50)).await;
        assert_eq!(answer.response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer.response.headers()["x-request-id"], answer.request_id.as_str());
        answer.response
    }

    #[tokio::test]
    async fn without_a_database_the_answer_is_503_at_once() {
        let response = ask("GET", "/products/1").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_is_answered_503() {
        let response = ask("GET", "/endless").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn a_panic_is_answered_500_without_what_it_said() {
        let response = ask("GET", "/faulty").await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!String::from_utf8_lossy(response.body()).contains("order"));
    }

    #[tokio::test]
    async fn a_path_and_a_method_that_do_not_exist_are_told_apart() {
        assert_eq!(ask("GET", "/").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(ask("PUT", "/elsewhere").await.status(), StatusCode::NOT_FOUND);
        for (path, allow) in [("/fixed/", "GET, HEAD, OPTIONS"), ("/cart", ALLOW_CART)] {
            let response = ask("PUT", path).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()[ALLOW], allow);
        }
    }

    #[tokio::test]
    async fn without_an_endpoint_the_answers_are_those_of_a_path_that_has_none() {
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
    async fn options_is_answered_204_on_any_path() {
        for path in ["/fixed", "/elsewhere"] {
            let response = ask("OPTIONS", path).await;
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            assert_eq!(response.headers()["access-control-max-age"], "86400");
        }
    }

    #[tokio::test]
    async fn head_is_get_without_the_body() {
        let response = ask("HEAD", "/fixed").await;
        assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
        assert_eq!(response.headers()[CONTENT_LENGTH], "14");
        assert_eq!(ask("GET", "/fixed").await.body().len(), 14);
    }
}
