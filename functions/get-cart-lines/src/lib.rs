//! `GET /cart/lines`: the lines of the caller's cart, with what a page shows of their products.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-cart-lines",
    method: Method::Get,
    path: "/cart/lines",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(get_cart_lines(app, request)),
};

async fn get_cart_lines(app: &App, request: &Request) -> Result<Response, Problem> {
    let lines = match app.carts.owner(&request.headers) {
        Some(owner) => request.timing.database(app.carts.lines(&owner)).await?,
        None => Vec::new(), // a client without `Authorization` and session has no cart
    };
    let lines: Vec<_> = lines.iter().map(|line| (line.sku_id, line.count)).collect();
    Ok(Response::private_json(app.catalog.cart_lines(&lines, &request.timing).await?))
}
