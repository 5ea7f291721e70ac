//! `GET /cards?ids=` and `GET /cards?page=&count=`: products as a list with pictures and prices shows them.

use shared::endpoint::{ALLOW_GET, Method};
use shared::http::request::parse_id;
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "list-cards",
    method: Method::Get,
    path: "/cards",
    query: &["ids", "page", "count"],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(list_cards(app, request)),
};

/// The max number of ids, and of cards on a page.
const MAX_IDS: usize = 100;
const MAX_COUNT: i32 = 100;

const NO_IDS: Problem = Problem::bad_request(
    "ids is 1 to 100 product ids with commas between them. A product id is a whole number from 1 to 2147483647.",
);
const TWO_LISTS: Problem = Problem::bad_request("Send either ids, or page and count.");

async fn list_cards(app: &App, request: &Request) -> Result<Response, Problem> {
    let [ids, page, count] = request.query(["ids", "page", "count"]);
    let Some(ids) = ids else {
        let page = request.page(MAX_COUNT)?;
        let (first, last) = page.ranks();
        let cards = app.catalog.cards_of_page(first, last, &request.timing).await?;
        return Ok(Response::page(page, None, cards));
    };
    if page.is_some() || count.is_some() {
        return Err(TWO_LISTS);
    }
    let ids: Option<Vec<i32>> = ids.split(',').map(parse_id).collect();
    let ids = ids.filter(|ids| ids.len() <= MAX_IDS).ok_or(NO_IDS)?;
    Ok(Response::document(app.catalog.cards(&ids, &request.timing).await?))
}
