//! What the catalog answers.

use crate::{SMALL_IDS, Transport, get, golden};

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
