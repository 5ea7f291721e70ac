//! What the catalog answers.

use bytes::Bytes;
use http::Request;

use crate::{SMALL_IDS, Transport, ask, get, golden};

/// The objects of a list, as they stand in it.
fn listed(ids: &[u32]) -> String {
    let object = |id: &u32| {
        let whole = golden(&format!("/products/{id}"));
        let (object, _) = whole.split_once(",\"features\":").unwrap();
        format!("{object}}}")
    };
    format!("[{}]", ids.iter().map(object).collect::<Vec<_>>().join(","))
}

async fn assert_answers(service: &impl Transport, path: &str, body: &str) {
    let answer = get(service, path).await;
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(answer.header("content-type"), "application/json", "{path}");
    assert_eq!(answer.text(), body, "{path}");
}

/// All of them, without features, whatever their order in the file.
pub async fn a_page_lists_products_in_ascending_id(service: &impl Transport) {
    assert_eq!(listed(&SMALL_IDS), golden("/products"));
    assert_answers(service, "/products?count=1000", &golden("/products")).await;
}

/// Seven products make pages of three, three and one, whatever their ids.
pub async fn pages_go_by_rank_so_that_gaps_in_ids_make_no_short_page(service: &impl Transport) {
    assert_answers(service, "/products?page=1&count=3", &listed(&[1, 2, 4])).await;
    assert_answers(service, "/products?page=2&count=3", &listed(&[7, 9, 12])).await;
    assert_answers(service, "/products?count=3&page=3", &listed(&[20])).await;
    assert_answers(service, "/products?count=1&page=7", &listed(&[20])).await;
}

/// However far past, the last ranks of it beyond what an integer holds.
pub async fn a_page_past_the_end_is_empty(service: &impl Transport) {
    for page in ["4", "5", "200000", "2147483647"] {
        assert_answers(service, &format!("/products?count=3&page={page}"), "[]").await;
    }
    assert_answers(service, "/products?count=1000&page=2147483647", "[]").await;
}

/// However much above, a page holds a thousand: front ends ask for 5000 to get everything.
pub async fn a_count_above_a_thousand_is_a_thousand(service: &impl Transport) {
    let digits = "9".repeat(1000);
    for count in ["1001", "1011", "5000", "2147483647", "2147483648", "99999999999999999999", &digits] {
        let answer = get(service, &format!("/products?count={count}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, golden("/products")), "{count}");
        assert!(
            answer.header("link").starts_with("<?page=1&count=1000>; rel=\"first\""),
            "{count}: {answer:?}"
        );
    }
}

/// As if it was not there. Of two that differ the first counts, whatever the second says.
pub async fn an_empty_parameter_is_none_and_of_a_repeated_one_the_first_counts(service: &impl Transport) {
    for query in
        ["page=", "count=", "page", "count", "page=&count=", "page=&page=2", "page=1&page=2", "page=1&page=x"]
    {
        assert_answers(service, &format!("/products?{query}"), &listed(&[1, 2, 4, 7, 9])).await;
    }
    for query in ["page=2&count=3&page=1&count=1", "count=3&page=2&page=", "page=2&count=3&count=0&page=0"] {
        assert_answers(service, &format!("/products?{query}"), &listed(&[7, 9, 12])).await;
    }
}

/// The number of products, and references to the pages that there are, with the count that was used; on a 304 and with
/// HEAD too, and not past the end.
pub async fn a_page_says_how_many_products_there_are_and_links_to_other_pages(service: &impl Transport) {
    let link =
        |page: u32, count: u32, relation: &str| format!("<?page={page}&count={count}>; rel=\"{relation}\"");
    for (query, links) in [
        ("", vec![link(1, 5, "first"), link(2, 5, "next"), link(2, 5, "last")]),
        ("?page=2", vec![link(1, 5, "first"), link(1, 5, "prev"), link(2, 5, "last")]),
        (
            "?page=2&count=3&x=1",
            vec![link(1, 3, "first"), link(1, 3, "prev"), link(3, 3, "next"), link(3, 3, "last")],
        ),
        ("?page=7&count=1", vec![link(1, 1, "first"), link(6, 1, "prev"), link(7, 1, "last")]),
        ("?count=7", vec![link(1, 7, "first"), link(1, 7, "last")]),
        ("?count=2000", vec![link(1, 1000, "first"), link(1, 1000, "last")]),
    ] {
        let path = format!("/products{query}");
        let expected = ("7", links.join(", "));
        let page = get(service, &path).await;
        assert_eq!((page.header("x-total-count"), page.header("link").to_owned()), expected, "{path}");
        for (method, known, status) in [("GET", "*", 304), ("HEAD", "", 200), ("HEAD", "*", 304)] {
            let request = Request::builder().method(method).uri(&path).header("if-none-match", known);
            let answer = ask(service, request.body(Bytes::new()).unwrap()).await;
            assert_eq!(answer.status, status, "{method} {path}");
            let headers = (answer.header("x-total-count"), answer.header("link").to_owned());
            assert_eq!(headers, expected, "{method} {path} {known}");
        }
    }
    let others = SMALL_IDS.map(|id| format!("/products/{id}"));
    for path in
        others.iter().map(String::as_str).chain(["/products?page=4&count=3", "/products?page=0", "/cart"])
    {
        let answer = get(service, path).await;
        assert_eq!((answer.header("x-total-count"), answer.header("link")), ("", ""), "{path}");
    }
}

/// The first page, five to a page.
pub async fn page_and_count_have_defaults_and_unknown_parameters_are_ignored(service: &impl Transport) {
    for query in
        ["", "?", "?page=1", "?count=5", "?sort=price", "?sort=&sort=&Page=9&COUNT=1", "?&&", "?=", "?x"]
    {
        assert_answers(service, &format!("/products{query}"), &listed(&[1, 2, 4, 7, 9])).await;
    }
    assert_answers(service, "/products?page=2", &listed(&[12, 20])).await;
}

/// Null where the file says null, text where it says "null".
pub async fn a_product_has_its_features_in_file_order(service: &impl Transport) {
    for id in SMALL_IDS {
        let path = format!("/products/{id}");
        assert_answers(service, &path, &golden(&path)).await;
    }
}

/// The placeholders are what front ends rely on.
pub async fn styles_have_photos_and_skus_in_file_order_and_placeholders_where_there_are_none(
    service: &impl Transport,
) {
    for id in SMALL_IDS {
        let path = format!("/products/{id}/styles");
        assert_answers(service, &path, &golden(&path)).await;
    }
}

/// Without those that do not exist.
pub async fn related_products_are_in_file_order_with_duplicates(service: &impl Transport) {
    for id in SMALL_IDS {
        let path = format!("/products/{id}/related");
        assert_answers(service, &path, &golden(&path)).await;
    }
}

/// Compared both with the parts' own endpoints and with what was written by hand.
pub async fn an_overview_is_its_parts_byte_for_byte(service: &impl Transport) {
    for id in SMALL_IDS {
        let mut parts = Vec::new();
        for endpoint in ["", "/styles", "/related"] {
            parts.push(get(service, &format!("/products/{id}{endpoint}")).await.text());
        }
        let path = format!("/products/{id}/overview");
        let whole = format!(r#"{{"product":{},"styles":{},"related":{}}}"#, parts[0], parts[1], parts[2]);
        assert_answers(service, &path, &whole).await;
        assert_eq!(whole, golden(&path));
    }
}

/// One, and one only: two are another path.
pub async fn a_trailing_slash_is_the_same_resource(service: &impl Transport) {
    for path in
        ["/products", "/products/1", "/products/1/styles", "/products/1/related", "/products/1/overview"]
    {
        let (without, with) = (get(service, path).await, get(service, &format!("{path}/")).await);
        assert_eq!((with.status, with.text()), (without.status, without.text()), "{path}");
        assert_eq!(with.header("etag"), without.header("etag"), "{path}");
        assert_eq!(get(service, &format!("{path}//")).await.status, 404, "{path}");
    }
    assert_answers(service, "/products/?count=2", &listed(&[1, 2])).await;
    assert_answers(service, "/cart/", "[]").await;
}
