//! Publications while readers read: no read fails, and no response mixes two catalogs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use conformance::{get, get_with};
use http::Request;
use rig::Database;
use support::marked::{Readers, write_marked};
use support::serving::{serve, serve_with};
use support::{load, load_into};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_fails_no_read_and_no_response_mixes_two_catalogs() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    write_marked(dirs[0].path(), 1);
    write_marked(dirs[1].path(), 2);
    let loaded = load(dirs[0].path()).await;
    let database: Database = loaded.database.clone();
    let readers = Readers::start(serve(&database).await, 4);
    readers.find(1).await;
    for swap in 0..4 {
        load_into(database.clone(), dirs[1 - swap % 2].path()).await;
        let served = if swap % 2 == 0 { 2 } else { 1 };
        readers.find(served).await;
        for back in [3 - served, served] {
            etl::load::rollback(&database.config(), || {}).await.unwrap();
            readers.find(back).await;
        }
    }
    readers.stop().await;
}

#[tokio::test]
async fn equal_content_keeps_its_tag_across_a_reload_and_changed_content_gets_another() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    write_marked(dirs[0].path(), 1);
    write_marked(dirs[1].path(), 2);
    let loaded = load(dirs[0].path()).await;
    let host = serve_with(&loaded.database, &[("CACHE_BYTES", "0")]).await;
    let tag = || async { get(&host, "/products/5/styles").await.header("etag").to_owned() };
    let first = tag().await;
    load_into(loaded.database.clone(), dirs[0].path()).await;
    assert_eq!(tag().await, first);
    load_into(loaded.database.clone(), dirs[1].path()).await;
    assert_ne!(tag().await, first);
}

#[tokio::test]
async fn a_cart_survives_a_reload_and_keeps_removed_skus() {
    let dir = tempfile::tempdir().unwrap();
    write_marked(dir.path(), 1);
    let loaded = load(conformance::small_dataset()).await;
    let host = serve(&loaded.database).await;
    let request =
        http::Request::post("/cart").header("authorization", "me").header("content-type", "application/json");
    let request = request.body(bytes::Bytes::from_static(br#"{"sku_id":16,"count":2}"#)).unwrap();
    assert_eq!(conformance::send(&host, request).await.status, 201);
    std::fs::write(dir.path().join("skus.csv"), "id,styleId,size,quantity\n1,1,\"S\",1").unwrap();
    load_into(loaded.database.clone(), dir.path()).await;
    let cart = get_with(&host, "/cart", &[("authorization", "me")]).await;
    assert_eq!(cart.text(), r#"[{"sku_id":16,"count":2}]"#);

    let host = serve(&loaded.database).await; // knows the new catalog
    let put = async |sku_id: u32, count: u32| {
        let request = Request::put(format!("/cart/{sku_id}")).header("authorization", "me");
        let request = request.header("content-type", "application/json");
        let request = request.body(format!(r#"{{"count":{count}}}"#).into()).unwrap();
        conformance::send(&host, request).await.status.as_u16()
    };
    assert_eq!((put(1, 3).await, put(16, 1).await), (200, 422));
    let lines = get_with(&host, "/cart/lines", &[("authorization", "me")]).await.text();
    let removed = r#"[{"sku_id":16,"count":2,"product_id":null,"product_name":null,"style_id":null,"style_name":null,"size":null,"original_price":null,"sale_price":null,"thumbnail_url":null,"quantity":null},{"sku_id":1,"count":3,"product_id":1,"#;
    assert!(lines.starts_with(removed), "{lines}");
    assert_eq!(put(16, 0).await, 204);
    let cart = get_with(&host, "/cart", &[("authorization", "me")]).await;
    assert_eq!(cart.text(), r#"[{"sku_id":1,"count":3}]"#);
}
