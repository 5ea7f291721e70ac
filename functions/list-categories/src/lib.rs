//! `GET /categories`: the categories by name, with their numbers of products.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "list-categories",
    method: Method::Get,
    path: "/categories",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(list_categories(app, request)),
};

async fn list_categories(app: &App, request: &Request) -> Result<Response, Problem> {
    Ok(Response::list(app.catalog.categories(&request.timing).await?))
}
