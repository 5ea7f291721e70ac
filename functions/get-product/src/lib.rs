//! `GET /products/{product_id}`: one product with its features.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-product",
    method: Method::Get,
    path: "/products/{product_id}",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(get_product(app, request)),
};

async fn get_product(app: &App, request: &Request) -> Result<Response, Problem> {
    let product_id = request.product_id()?;
    let product = app.catalog.product(product_id, &request.timing).await?;
    product.map(Response::document).ok_or(Problem::no_such_product())
}
