//! `DELETE /cart/{sku_id}`: removes one line from the caller's cart.

use shared::endpoint::{ALLOW_CART_LINE, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "remove-from-cart",
    method: Method::Delete,
    path: "/cart/{sku_id}",
    query: &[],
    allow: ALLOW_CART_LINE,
    handler: |app, request| Box::pin(remove_from_cart(app, request)),
};

async fn remove_from_cart(app: &App, request: &Request) -> Result<Response, Problem> {
    let sku_id = request.sku_id()?;
    // A client without `Authorization` and session has no cart.
    if let Some(owner) = app.carts.owner(&request.headers) {
        request.timing.database(app.carts.remove(&owner, sku_id)).await?;
    }
    Ok(Response::no_content())
}
