//! Everything around a handler, the same on every transport: which endpoint, its time limit, a panic in it, and what
//! every answer carries.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Method;

use crate::app::App;
use crate::database::chain;
use crate::endpoint::{Endpoint, Route, route};
use crate::problem::Problem;
use crate::request::{LARGEST_BODY_BYTES, Request, RequestId};
use crate::response::{self, Response};

/// A finished response, and what the log says about it.
#[derive(Debug)]
pub struct Answer {
    /// The response; a body it has is complete.
    pub response: http::Response<Bytes>,
    /// The path template of the endpoint; `None` for a path that has none.
    pub route: Option<&'static str>,
    /// What the request is known by.
    pub request_id: RequestId,
}

/// Answers a request with one of `endpoints`. It always answers: what goes wrong is a problem, a panic included.
///
/// A transport need not read more than one byte over [`LARGEST_BODY_BYTES`] of a body: that is enough for it to be refused.
pub async fn answer(app: &App, endpoints: &[&Endpoint], request: http::Request<Bytes>) -> Answer {
    let (parts, body) = request.into_parts();
    let mut request = Request::new(parts, body);
    let found = route(endpoints, &request.method, request.uri.path());
    let path = match &found {
        Route::Endpoint(endpoint, _) | Route::OtherMethod(endpoint) => Some(endpoint.path),
        Route::Nothing => None,
    };
    if request.method == Method::OPTIONS {
        return finish(Ok(response::preflight()), request, path);
    }
    let answered = match found {
        _ if request.body.len() > LARGEST_BODY_BYTES => Err(Problem::body_too_large()),
        Route::Endpoint(endpoint, product_id) => {
            request.product_id = product_id;
            handle(app, &endpoint, &request).await
        }
        Route::OtherMethod(endpoint) => Err(Problem::method_not_allowed(endpoint.allow)),
        Route::Nothing => Err(Problem::not_found("There is nothing at this path.")),
    };
    let response = answered.and_then(|response| response.into_http(&request));
    finish(response, request, path)
}

/// Answers a request that its transport could not hand over whole.
#[must_use]
pub fn refuse(parts: http::request::Parts, problem: Problem) -> Answer {
    finish(Err(problem), Request::new(parts, Bytes::new()), None)
}

async fn handle(app: &App, endpoint: &Endpoint, request: &Request) -> Result<Response, Problem> {
    // Handlers change nothing in `app` that a panic could leave half done.
    let answering = AssertUnwindSafe(async { (endpoint.handler)(app, request).await }).catch_unwind();
    match tokio::time::timeout(app.request_timeout, answering).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => Err(Problem::fault()), // the panic hook has logged where it was
        Err(_) => Err(Problem::unavailable("The answer was not ready in time.")),
    }
}

fn finish(
    response: Result<http::Response<Bytes>, Problem>,
    request: Request,
    route: Option<&'static str>,
) -> Answer {
    let response = response.unwrap_or_else(|problem| {
        if let Some(cause) = &problem.cause {
            tracing::error!(
                request_id = request.id.as_str(),
                route,
                cause = chain(&**cause),
                "cannot answer"
            );
        }
        problem.to_http(&request)
    });
    Answer { response: response::complete(response, &request), route, request_id: request.id }
}
