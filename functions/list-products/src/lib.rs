//! `GET /products`: one page of the catalog or of a category, in ascending id, or the products that a search finds.

use shared::catalog::{MAX_WORD, MIN_WORD, words};
use shared::endpoint::{ALLOW_GET, Method};
use shared::http::request::MAX_COUNT;
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "list-products",
    method: Method::Get,
    path: "/products",
    query: &["page", "count", "category", "q"],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(list_products(app, request)),
};

/// The max number of words in a search.
const MAX_WORDS: usize = 4;

const TWO_FILTERS: Problem = Problem::bad_request("Send either category or q.");
const NO_CATEGORY: Problem = Problem::bad_request("category contains a character that no category has.");
const NO_WORDS: Problem = Problem::bad_request("q is 1 to 4 words, each of 3 to 64 letters or digits.");

async fn list_products(app: &App, request: &Request) -> Result<Response, Problem> {
    let filters = request.query(["category", "q"]);
    let [category, q] = filters.map(|value| value.filter(|value| !value.is_empty()));
    match (category, q) {
        (None, None) => {
            let page = request.page(MAX_COUNT)?;
            let (first, last) = page.ranks();
            let list = app.catalog.list(first, last, &request.timing).await?;
            Ok(Response::page(page, None, list))
        }
        (Some(category), None) => {
            let page = request.page(MAX_COUNT)?;
            if category.contains('\0') {
                return Err(NO_CATEGORY); // Postgres rejects it as a parameter
            }
            let (first, last) = page.ranks();
            let list = app.catalog.category(&category, first, last, &request.timing).await?;
            Ok(Response::page(page, Some(&category), list))
        }
        (None, Some(q)) => {
            let prefixes = prefixes(&q).ok_or(NO_WORDS)?;
            Ok(Response::document(app.catalog.search(prefixes, &request.timing).await?))
        }
        (Some(_), Some(_)) => Err(TWO_FILTERS),
    }
}

/// Returns the words of a search, sorted and without repetition, so that equal searches share a cached list.
fn prefixes(q: &str) -> Option<Vec<String>> {
    let mut prefixes: Vec<String> = words(q).take(MAX_WORDS + 1).collect();
    let is_long_enough = |word: &String| (MIN_WORD..=MAX_WORD).contains(&word.chars().count());
    if !(1..=MAX_WORDS).contains(&prefixes.len()) || !prefixes.iter().all(is_long_enough) {
        return None;
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Some(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_one_to_four_words_of_three_to_64_letters_or_digits() {
        let of = |q: &str| prefixes(q).map(|prefixes| prefixes.join(" "));
        assert_eq!(of("harb hood").as_deref(), Some("harb hood"));
        assert_eq!(of(" Hood-HARB, hood\t501 ").as_deref(), Some("501 harb hood"));
        assert_eq!(of("abc abc abc abc").as_deref(), Some("abc"));
        let long = "x".repeat(64);
        assert_eq!(of(&long), Some(long.clone()));
        for q in ["", " ", "-", "ab", "abc ab", "abc def ghi jkl mno", &format!("{long}x"), "🧦🧦🧦"] {
            assert_eq!(of(q), None, "{q}");
        }
    }
}
