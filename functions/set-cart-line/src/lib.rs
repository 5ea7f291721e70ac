//! `PUT /cart/{sku_id}`: sets the count of a sku in the caller's cart.

use shared::cart::Line;
use shared::endpoint::{ALLOW_CART_LINE, Method};
use shared::http::json;
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "set-cart-line",
    method: Method::Put,
    path: "/cart/{sku_id}",
    query: &[],
    allow: ALLOW_CART_LINE,
    handler: |app, request| Box::pin(set_cart_line(app, request)),
};

const NO_JSON: Problem = Problem::bad_request("The body must be JSON such as {\"count\":1}.");
const NO_COUNT: Problem =
    Problem::bad_request("count is a whole number from 0 to 9999, or a string of one such as \"1\".");

async fn set_cart_line(app: &App, request: &Request) -> Result<Response, Problem> {
    let sku_id = request.sku_id()?;
    let members = json::members(request, NO_JSON)?;
    let count = members.get("count").and_then(|count| json::integer(count)).ok_or(NO_COUNT)?;
    let count = json::in_range(count, 0..=9999).ok_or(NO_COUNT)?;
    if count == 0 {
        // A client without `Authorization` and session has no cart.
        if let Some(owner) = app.carts.owner(&request.headers) {
            request.timing.database(app.carts.remove(&owner, sku_id)).await?;
        }
        return Ok(Response::no_content());
    }
    let (owner, cookie) = app.carts.owner_or_new(request).await?;
    request.timing.database(app.carts.set(&owner, sku_id, count)).await?.check()?;
    let line = serde_json::to_vec(&Line { sku_id, count }).map_err(Problem::internal)?;
    Ok(Response::private_json(line).with_cookie(cookie))
}
