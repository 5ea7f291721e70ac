//! `GET /cart`: the lines of the caller's cart.

use shared::endpoint::{ALLOW_CART, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "get-cart",
    method: Method::Get,
    path: "/cart",
    query: &[],
    allow: ALLOW_CART,
    handler: |app, request| Box::pin(get_cart(app, request)),
};

async fn get_cart(app: &App, request: &Request) -> Result<Response, Problem> {
    let lines = match app.carts.owner(&request.headers) {
        Some(owner) => request.timing.database(app.carts.lines(&owner)).await?,
        None => Vec::new(), // a client without `Authorization` and session has no cart
    };
    Ok(Response::private_json(serde_json::to_vec(&lines).map_err(Problem::internal)?))
}
