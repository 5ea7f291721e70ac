//! `GET /products/{product_id}/related`: the ids of related products.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-related",
    method: Method::Get,
    path: "/products/{product_id}/related",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(get_related(app, request)),
};

async fn get_related(app: &App, request: &Request) -> Result<Response, Problem> {
    let product_id = request.product_id()?;
    let related = app.catalog.related(product_id, &request.timing).await?;
    related.map(Response::document).ok_or(Problem::no_such_product())
}
