//! `GET /products/{product_id}/styles`: a product's styles with their photos and skus.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-styles",
    method: Method::Get,
    path: "/products/{product_id}/styles",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(get_styles(app, request)),
};

async fn get_styles(app: &App, request: &Request) -> Result<Response, Problem> {
    let product_id = request.product_id()?;
    let styles = app.catalog.styles(product_id, &request.timing).await?;
    styles.map(Response::document).ok_or(Problem::no_such_product())
}
