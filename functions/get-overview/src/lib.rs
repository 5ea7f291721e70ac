//! `GET /products/{product_id}/overview`: a whole product page in one response. Each part is byte-equal to the response
//! of its own endpoint.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-overview",
    method: Method::Get,
    path: "/products/{product_id}/overview",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(get_overview(app, request)),
};

async fn get_overview(app: &App, request: &Request) -> Result<Response, Problem> {
    let product_id = request.product_id()?;
    let overview = app.catalog.overview(product_id, &request.timing).await?;
    overview.map(Response::document).ok_or(Problem::no_such_product())
}
