//! The suite over the host: the whole service in one process, on a real socket, on a real database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use conformance::get;
use stand::derivation::derived;
use stand::serving::{serve, small_host};
use stand::{generated, load, real_heads};

conformance::suite!(small_host);

#[tokio::test]
async fn before_a_catalog_is_published_answers_are_503_and_say_when_to_come_back() {
    let database = local::testing::Database::create().await.unwrap();
    let host = serve(&database).await;
    for path in
        ["/products", "/products/1", "/products/1/styles", "/products/1/related", "/products/1/overview"]
    {
        let answer = get(&host, path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{path}");
        assert_eq!(
            get(&host, "/products/abc").await.status,
            400,
            "what is wrong is wrong without a database too"
        );
    }
    assert_eq!(get(&host, "/cart").await.text(), "[]");
}

#[tokio::test]
async fn what_is_served_is_what_plain_sql_derives() {
    let mut sets = vec![generated(0.000_2, 9, false).await];
    if let Some(dir) = real_heads() {
        sets.push(load(&dir).await);
    }
    for loaded in sets {
        let host = serve(&loaded.database).await;
        let derived = derived(&loaded.database.connect().await.unwrap()).await;
        let mut listed = Vec::new();
        for document in derived {
            let path = format!("/products/{}", document.product_id);
            assert_eq!(get(&host, &path).await.text(), document.product);
            assert_eq!(get(&host, &format!("{path}/styles")).await.text(), document.styles);
            assert_eq!(get(&host, &format!("{path}/related")).await.text(), document.related);
            listed.push(format!("{}}}", document.product.split(",\"features\":").next().unwrap()));
        }
        let list = get(&host, "/products?count=1000").await.text();
        assert_eq!(list, format!("[{}]", listed.join(",")));
    }
}
