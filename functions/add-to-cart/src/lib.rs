//! `POST /cart`: adds a sku to the caller's cart.

use shared::endpoint::{ALLOW_CART, Method};
use shared::http::json;
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "add-to-cart",
    method: Method::Post,
    path: "/cart",
    query: &[],
    allow: ALLOW_CART,
    handler: |app, request| Box::pin(add_to_cart(app, request)),
};

const NO_JSON: Problem = Problem::bad_request("The body must be JSON such as {\"sku_id\":1,\"count\":1}.");
const NO_SKU_ID: Problem =
    Problem::bad_request("sku_id is a whole number, or a string of one such as \"1\".");
const NO_COUNT: Problem =
    Problem::bad_request("count is a whole number from 1 to 99, or a string of one such as \"1\".");

async fn add_to_cart(app: &App, request: &Request) -> Result<Response, Problem> {
    let (sku_id, count) = sku_id_and_count(request)?;
    let (owner, cookie) = app.carts.owner_or_new(request).await?;
    request.timing.database(app.carts.add(&owner, sku_id, count)).await?.check()?;
    Ok(Response::created().with_cookie(cookie))
}

/// Returns the members `sku_id` and `count` of the body. Ignores all others.
fn sku_id_and_count(request: &Request) -> Result<(i32, i32), Problem> {
    let members = json::members(request, NO_JSON)?;
    let sku_id = members.get("sku_id").and_then(|sku_id| json::integer(sku_id)).ok_or(NO_SKU_ID)?;
    let count = match members.get("count") {
        Some(count) if count.get() != "null" => json::integer(count).ok_or(NO_COUNT)?,
        _ => 1.0,
    };
    let count = json::in_range(count, 1..=99).ok_or(NO_COUNT)?;
    Ok((json::in_range(sku_id, 1..=i32::MAX).ok_or(Problem::no_such_sku())?, count))
}
