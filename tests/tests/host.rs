//! The suite over the host: the whole service in one process, on a real socket, with a real database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use conformance::{Transport as _, get, small_dataset};
use futures_util::future::{join, join_all};
use http::Request;
use support::derivation::derived;
use support::serving::{serve, small_host};
use support::{generated, load, real_heads};

conformance::suite!(small_host);

#[tokio::test]
async fn before_the_first_publication_requests_return_503_with_retry_after() {
    let database = rig::Database::create().await.unwrap();
    let host = serve(&database).await;
    for path in
        ["/products", "/products/1", "/products/1/styles", "/products/1/related", "/products/1/overview"]
    {
        let response = get(&host, path).await;
        assert_eq!(response.status, 503, "{path}");
        assert!(response.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{path}");
        assert_eq!(
            get(&host, "/products/abc").await.status,
            400,
            "an invalid request is 400 without a database too"
        );
    }
    assert_eq!(get(&host, "/cart").await.text(), "[]");
}

#[tokio::test]
async fn a_locked_cart_holds_up_no_other_cart() {
    let loaded = load(small_dataset()).await;
    let host = serve(&loaded.database).await;
    let add = async |owner: String| {
        let request =
            Request::post("/cart").header("authorization", owner).header("content-type", "application/json");
        host.call(request.body(r#"{"sku_id":1}"#.into()).unwrap()).await.status()
    };
    assert_eq!(add("Bearer locked".to_owned()).await, 201);
    let mut client = loaded.database.connect().await.unwrap();
    let locking = client.transaction().await.unwrap();
    locking.batch_execute("select from cart.carts for update").await.unwrap();
    let locked = join_all((0..4).map(|_| add("Bearer locked".to_owned())));
    let others = join_all((0..20).map(|number| add(format!("Bearer {number}"))));
    let (locked, others) = join(locked, others).await;
    assert_eq!(locked, [503; 4]);
    assert_eq!(others, [201; 20]);
    locking.rollback().await.unwrap();
    assert_eq!(add("Bearer locked".to_owned()).await, 201);
}

#[tokio::test]
async fn the_host_serves_what_plain_sql_derives() {
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
