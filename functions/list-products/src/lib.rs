//! `GET /products?page=&count=`: one page of the catalog, in ascending id.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "list-products",
    method: Method::Get,
    path: "/products",
    query: &["page", "count"],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(list_products(app, request)),
};

async fn list_products(app: &App, request: &Request) -> Result<Response, Problem> {
    let page = request.page()?;
    let (first, last) = page.ranks();
    let list = app.catalog.list(first, last, &request.timing).await?;
    Ok(Response::page(page, list))
}
