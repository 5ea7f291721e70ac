//! `GET /catalog`: the generation, the time of publication and the number of products of the current catalog.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-catalog",
    method: Method::Get,
    path: "/catalog",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(get_catalog(app, request)),
};

async fn get_catalog(app: &App, request: &Request) -> Result<Response, Problem> {
    Ok(Response::document(app.catalog.current_catalog(&request.timing).await?))
}
