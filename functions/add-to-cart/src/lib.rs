//! `POST /cart`: one sku into the caller's cart.

use serde::Deserialize;
use shared::cart::{Addition, Owner, Session};
use shared::endpoint::{Method, READ_AND_ADD};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "add-to-cart",
    method: Method::Post,
    path: "/cart",
    allow: READ_AND_ADD,
    handler: |app, request| Box::pin(add_to_cart(app, request)),
};

/// The body. What else is in it is ignored.
#[derive(Debug, Deserialize)]
struct Wanted {
    sku_id: i64,
    #[serde(default = "one")]
    count: i64,
}

fn one() -> i64 {
    1
}

async fn add_to_cart(app: &App, request: &Request) -> Result<Response, Problem> {
    let (sku_id, count) = wanted(request)?;
    let (owner, cookie) = match Owner::from_headers(&request.headers) {
        Some(owner) => (owner, None),
        None => {
            let session = Session::issue().map_err(Problem::unforeseen)?;
            let cookie = session.cookie(request.is_behind_tls()).map_err(Problem::unforeseen)?;
            (session.owner(), Some(cookie))
        }
    };
    match request.timing.database(app.cart.add(&owner, sku_id, count)).await? {
        Addition::Added => Ok(Response::created().with_cookie(cookie)),
        Addition::UnknownSku => Err(unknown_sku()),
        Addition::TooManyLines => Err(Problem::unprocessable("A cart holds at most 100 different skus.")),
        Addition::TooManyOfSku => Err(Problem::unprocessable("A cart holds at most 9999 of a sku.")),
    }
}

fn unknown_sku() -> Problem {
    Problem::unprocessable("There is no sku with this id.")
}

fn wanted(request: &Request) -> Result<(i32, i32), Problem> {
    if !request.has_json() {
        return Err(Problem::unsupported_media_type("The body must be application/json."));
    }
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&request.body)
        .map_err(|_| Problem::bad_request("The body must be JSON such as {\"sku_id\":1,\"count\":1}."))?;
    let wanted: Wanted = serde_json::from_value(members.into())
        .map_err(|_| Problem::bad_request("The body must be JSON such as {\"sku_id\":1,\"count\":1}."))?;
    let count = i32::try_from(wanted.count).ok().filter(|count| (1..=99).contains(count));
    // A whole number beyond what ids can be is no fault of form: it is a sku that does not exist.
    let sku_id = i32::try_from(wanted.sku_id).map_err(|_| unknown_sku())?;
    let count = count.ok_or(Problem::bad_request("count is a whole number from 1 to 99."))?;
    Ok((sku_id, count))
}
