//! Checks of the catalog's responses.

use bytes::Bytes;
use http::Request;

use crate::{SMALL_IDS, Transport, get, golden, send};

/// Returns the objects with these ids as a page lists them.
fn listed(ids: &[u32]) -> String {
    let object = |id: &u32| {
        let whole = golden(&format!("/products/{id}"));
        let (object, _) = whole.split_once(",\"features\":").unwrap();
        format!("{object}}}")
    };
    format!("[{}]", ids.iter().map(object).collect::<Vec<_>>().join(","))
}

async fn assert_body(service: &impl Transport, path: &str, body: &str) {
    let response = get(service, path).await;
    assert_eq!(response.status, 200, "{path}");
    assert_eq!(response.header("content-type"), "application/json", "{path}");
    assert_eq!(response.text(), body, "{path}");
}

/// The page has all products, without features, regardless of their order in the file.
pub async fn a_page_lists_products_in_ascending_id(service: &impl Transport) {
    assert_eq!(listed(&SMALL_IDS), golden("/products"));
    assert_body(service, "/products?count=1000", &golden("/products")).await;
}

/// Seven products make pages of three, three and one, whatever their ids.
pub async fn gaps_in_ids_make_no_short_page(service: &impl Transport) {
    assert_body(service, "/products?page=1&count=3", &listed(&[1, 2, 4])).await;
    assert_body(service, "/products?page=2&count=3", &listed(&[7, 9, 12])).await;
    assert_body(service, "/products?count=3&page=3", &listed(&[20])).await;
    assert_body(service, "/products?count=1&page=7", &listed(&[20])).await;
}

/// This holds for any page number, even where the rank exceeds the range of an integer.
pub async fn a_page_past_the_end_is_empty(service: &impl Transport) {
    for page in ["4", "5", "200000", "2147483647"] {
        assert_body(service, &format!("/products?count=3&page={page}"), "[]").await;
    }
    assert_body(service, "/products?count=1000&page=2147483647", "[]").await;
}

/// A page has at most 1000 products. Front ends request 5000 to get all of them.
pub async fn a_count_above_a_thousand_is_a_thousand(service: &impl Transport) {
    let digits = "9".repeat(1000);
    for count in ["1001", "1011", "5000", "2147483647", "2147483648", "99999999999999999999", &digits] {
        let response = get(service, &format!("/products?count={count}")).await;
        assert_eq!((response.status.as_u16(), response.text()), (200, golden("/products")), "{count}");
        assert!(
            response.header("link").starts_with("<?page=1&count=1000>; rel=\"first\""),
            "{count}: {response:?}"
        );
    }
}

/// An empty parameter counts as missing. If a parameter occurs twice, the service reads only the first.
pub async fn an_empty_parameter_is_ignored_and_the_first_of_a_repeated_one_counts(service: &impl Transport) {
    for query in
        ["page=", "count=", "page", "count", "page=&count=", "page=&page=2", "page=1&page=2", "page=1&page=x"]
    {
        assert_body(service, &format!("/products?{query}"), &listed(&[1, 2, 4, 7, 9])).await;
    }
    for query in ["page=2&count=3&page=1&count=1", "count=3&page=2&page=", "page=2&count=3&count=0&page=0"] {
        assert_body(service, &format!("/products?{query}"), &listed(&[7, 9, 12])).await;
    }
}

/// The headers have the number of products, and links to the existing pages with the effective count. They are also on
/// a 304 and on HEAD, but not past the end.
pub async fn a_page_has_the_total_count_and_links_to_other_pages(service: &impl Transport) {
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
            let response = send(service, request.body(Bytes::new()).unwrap()).await;
            assert_eq!(response.status, status, "{method} {path}");
            let headers = (response.header("x-total-count"), response.header("link").to_owned());
            assert_eq!(headers, expected, "{method} {path} {known}");
        }
    }
    let others = SMALL_IDS.map(|id| format!("/products/{id}"));
    for path in
        others.iter().map(String::as_str).chain(["/products?page=4&count=3", "/products?page=0", "/cart"])
    {
        let response = get(service, path).await;
        assert_eq!((response.header("x-total-count"), response.header("link")), ("", ""), "{path}");
    }
}

/// The default is the first page, with five products.
pub async fn page_and_count_have_defaults_and_unknown_parameters_are_ignored(service: &impl Transport) {
    for query in
        ["", "?", "?page=1", "?count=5", "?sort=price", "?sort=&sort=&Page=9&COUNT=1", "?&&", "?=", "?x"]
    {
        assert_body(service, &format!("/products{query}"), &listed(&[1, 2, 4, 7, 9])).await;
    }
    assert_body(service, "/products?page=2", &listed(&[12, 20])).await;
}

/// A value is null where the file has null, and text where it has "null".
pub async fn a_product_has_its_features_in_file_order(service: &impl Transport) {
    for id in SMALL_IDS {
        let path = format!("/products/{id}");
        assert_body(service, &path, &golden(&path)).await;
    }
}

/// Front ends rely on the placeholders.
pub async fn styles_have_photos_and_skus_in_file_order_and_placeholders_where_there_are_none(
    service: &impl Transport,
) {
    for id in SMALL_IDS {
        let path = format!("/products/{id}/styles");
        assert_body(service, &path, &golden(&path)).await;
    }
}

/// Related products that do not exist are omitted.
pub async fn related_products_are_in_file_order_with_duplicates(service: &impl Transport) {
    for id in SMALL_IDS {
        let path = format!("/products/{id}/related");
        assert_body(service, &path, &golden(&path)).await;
    }
}

/// The overview equals the parts' own endpoints, and the expected files that were written by hand.
pub async fn an_overview_is_its_parts_byte_for_byte(service: &impl Transport) {
    for id in SMALL_IDS {
        let mut parts = Vec::new();
        for endpoint in ["", "/styles", "/related"] {
            parts.push(get(service, &format!("/products/{id}{endpoint}")).await.text());
        }
        let path = format!("/products/{id}/overview");
        let whole = format!(r#"{{"product":{},"styles":{},"related":{}}}"#, parts[0], parts[1], parts[2]);
        assert_body(service, &path, &whole).await;
        assert_eq!(whole, golden(&path));
    }
}

/// Exactly one slash: a path with two is another path.
pub async fn a_trailing_slash_is_the_same_resource(service: &impl Transport) {
    for path in
        ["/products", "/products/1", "/products/1/styles", "/products/1/related", "/products/1/overview"]
    {
        let (without, with) = (get(service, path).await, get(service, &format!("{path}/")).await);
        assert_eq!((with.status, with.text()), (without.status, without.text()), "{path}");
        assert_eq!(with.header("etag"), without.header("etag"), "{path}");
        assert_eq!(get(service, &format!("{path}//")).await.status, 404, "{path}");
    }
    assert_body(service, "/products/?count=2", &listed(&[1, 2])).await;
    assert_body(service, "/cart/", "[]").await;
}

/// It has the pages, headers and fields of the whole list. An unknown category has none, and an empty one is no filter.
pub async fn a_category_lists_its_products(service: &impl Transport) {
    for (query, ids) in [
        ("category=Coat", &[1][..]),
        ("category=Accessories&page=1&count=1", &[12]),
        ("category=Boots&count=5000&category=Coat", &[7]),
        ("category=Boots&page=2", &[]),
        ("category=Boots&page=2147483647&count=1000", &[]),
        ("category=boots", &[]),
        ("category=Boot", &[]),
        ("category=Boots%20", &[]),
        ("category=%F0%9F%A7%A6%FF", &[]),
        ("category=&q=&count=2", &[1, 2]),
        ("q&category&count=2&category=Coat", &[1, 2]),
    ] {
        assert_body(service, &format!("/products?{query}"), &listed(ids)).await;
    }
    let page = get(service, "/products?category=Cap&count=3").await;
    let link = "<?category=Cap&page=1&count=3>; rel=\"first\", <?category=Cap&page=1&count=3>; rel=\"last\"";
    assert_eq!((page.header("x-total-count"), page.header("link")), ("1", link));
    let past = get(service, "/products?category=Cap&count=3&page=2").await;
    assert_eq!((past.header("x-total-count"), past.header("link")), ("", ""));
    for query in ["category=Coat&page=0", "category=Coat&count=x", "category=Coat&q=rain", "category=a%00b"] {
        assert_eq!(get(service, &format!("/products?{query}")).await.status, 400, "{query}");
    }
}

/// Every word of the search is the beginning of a word of the name, in any case and order.
pub async fn a_search_finds_names_with_words_that_begin_so(service: &impl Transport) {
    for (q, ids) in [
        ("thistle+raincoat", &[1][..]),
        ("RAIN-this", &[1]),
        ("plain", &[2]),
        ("oha", &[]),
        ("hara%27", &[2]),
        ("gr%C3%B6%C3%9F", &[4]),
        ("GR%C3%96%C3%9FE", &[4]),
        ("soc", &[4]),
        ("fer+tic+poc", &[12]),
        ("ferry+boots", &[]),
        ("ock", &[]),
        ("boots&page=9&count=0", &[7]),
        ("thistle&q=boots", &[1]),
    ] {
        assert_body(service, &format!("/products?q={q}"), &listed(ids)).await;
    }
    let found = get(service, "/products?q=boots").await;
    assert_eq!((found.header("x-total-count"), found.header("link")), ("", ""));
    assert_ne!(found.header("etag"), "");
}

/// A short word would find a large part of the catalog.
pub async fn a_search_that_is_not_one_to_four_words_is_400(service: &impl Transport) {
    let (long, longest) = ("x".repeat(65), "x".repeat(64));
    for q in [
        "ab",
        "boots+ab",
        "-",
        "+",
        "%00",
        "%27+or+1%3D1+--+boots",
        "abc+def+ghi+jkl+mno",
        "%F0%9F%A7%A6",
        &long,
    ] {
        assert_eq!(get(service, &format!("/products?q={q}")).await.status, 400, "{q}");
    }
    assert_body(service, &format!("/products?q={longest}+boots"), "[]").await;
}

/// They are in ascending order.
pub async fn categories_have_their_number_of_products(service: &impl Transport) {
    let of = |category: &&str| format!(r#"{{"category":"{category}","products":1}}"#);
    let categories = ["Accessories", "Boots", "Cap", "Coat", "Dress", "Socks", "Trousers"];
    let expected = format!("[{}]", categories.iter().map(of).collect::<Vec<_>>().join(","));
    assert_body(service, "/categories", &expected).await;
    assert_body(service, "/categories/", &expected).await;
    assert_eq!(get(service, "/categories").await.header("x-total-count"), "7");
}

/// The time is in UTC.
pub async fn the_current_catalog_has_its_generation_publication_and_size(service: &impl Transport) {
    let text = get(service, "/catalog").await.text();
    let rest = text.strip_prefix(r#"{"generation":"#).expect(&text);
    let (generation, rest) = rest.split_once(r#","published_at":""#).expect(&text);
    let (published_at, rest) = rest.split_once('"').expect(&text);
    assert!(generation.parse::<u32>().is_ok_and(|generation| generation > 0), "{text}");
    let form: String = published_at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00Z", "{text}");
    assert_eq!(rest, r#","products":7}"#);
}
