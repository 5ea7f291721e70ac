//! `DELETE /cart`: empties the caller's cart.

use shared::endpoint::{ALLOW_CART, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "clear-cart",
    method: Method::Delete,
    path: "/cart",
    query: &[],
    allow: ALLOW_CART,
    handler: |app, request| Box::pin(clear_cart(app, request)),
};

async fn clear_cart(app: &App, request: &Request) -> Result<Response, Problem> {
    // A client without `Authorization` and session has no cart.
    if let Some(owner) = app.carts.owner(&request.headers) {
        request.timing.database(app.carts.clear(&owner)).await?;
    }
    Ok(Response::no_content())
}
