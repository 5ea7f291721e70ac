//! One catalog takes over from another while readers read: none of them fails, and none sees two at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use conformance::{get, get_with};
use local::testing::Database;
use stand::serving::{Socket, serve};
use stand::{load, load_into};

/// Products of a marked dataset.
const PRODUCTS: u32 = 40;

/// How many readers read at once.
const READERS: usize = 4;

/// Writes a dataset every answer of which shows its mark: in the texts, and in the one product that all are
/// related to.
fn write_marked(dir: &Path, mark: u32) {
    let ids = || 1..=PRODUCTS;
    let write = |file: &str, header: &str, row: &dyn Fn(u32) -> String| {
        let rows: Vec<String> = std::iter::once(header.to_owned()).chain(ids().map(row)).collect();
        std::fs::write(dir.join(file), rows.join("\n")).unwrap();
    };
    write("product.csv", "id,name,slogan,description,category,default_price", &|id| {
        format!("{id},\"name {mark}\",\"slogan {mark}\",\"description {mark}\",\"category {mark}\",{mark}")
    });
    write("features.csv", "id,product_id,feature,value", &|id| {
        format!("{id},{id},\"feature {mark}\",\"value {mark}\"")
    });
    write("styles.csv", "id,productId,name,sale_price,original_price,default_style", &|id| {
        format!("{id},{id},\"style {mark}\",null,{mark},1")
    });
    write("photos.csv", "id,styleId,url,thumbnail_url", &|id| {
        format!("{id},{id},\"https://photos.example/{mark}\",\"https://photos.example/{mark}\"")
    });
    write("skus.csv", "id,styleId,size,quantity", &|id| format!("{id},{id},\"size {mark}\",{mark}"));
    write("related.csv", "id,current_product_id,related_product_id", &|id| format!("{id},{id},{mark}"));
}

/// The overview of a product of a dataset of this mark.
fn overview(id: u32, mark: u32) -> String {
    format!(
        r#"{{"product":{{{},"features":[{{"feature":"feature {mark}","value":"value {mark}"}}]}},"#,
        listed(id, mark)
    ) + &format!(
        r#""styles":{{"product_id":"{id}","results":[{{"style_id":{id},"name":"style {mark}","original_price":"{mark}","sale_price":null,"default?":true,"photos":[{{"thumbnail_url":"https://photos.example/{mark}","url":"https://photos.example/{mark}"}}],"skus":{{"{id}":{{"quantity":{mark},"size":"size {mark}"}}}}}}]}},"related":[{mark}]}}"#
    )
}

fn listed(id: u32, mark: u32) -> String {
    format!(
        r#""id":{id},"name":"name {mark}","slogan":"slogan {mark}","description":"description {mark}","category":"category {mark}","default_price":"{mark}""#
    )
}

fn list(mark: u32) -> String {
    let objects: Vec<_> = (1..=PRODUCTS).map(|id| format!("{{{}}}", listed(id, mark))).collect();
    format!("[{}]", objects.join(","))
}

/// Asks for overviews and lists until told to stop, each of which must be of one mark or the other.
async fn read(host: Socket, first: u32, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let lists = [list(1), list(2)];
    for id in (1..=PRODUCTS).cycle().skip(first as usize) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let path = format!("/products/{id}/overview");
        let answer = get_with(&host, &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        assert!(text == overview(id, 1) || text == overview(id, 2), "{text}");
        let answer = get(&host, &format!("/products?count={PRODUCTS}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(lists.contains(&answer.text()), "{}", answer.text());
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until so many more rounds of reading went by.
async fn rounds_go_by(rounds: &AtomicU64, more: u64) {
    let until = rounds.load(Ordering::Relaxed) + more;
    while rounds.load(Ordering::Relaxed) < until {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_fail_at_no_swap_and_never_see_two_catalogs_in_one_answer() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    write_marked(dirs[0].path(), 1);
    write_marked(dirs[1].path(), 2);
    let loaded = load(dirs[0].path()).await;
    let database: Database = loaded.database.clone();
    let host = serve(&database).await;
    assert_eq!(get(&host, "/products/3/overview").await.text(), overview(3, 1));

    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|n| {
            tokio::spawn(read(host, 7 * u32::try_from(n).unwrap(), Arc::clone(&stop), Arc::clone(&rounds)))
        })
        .collect();
    for swap in 0..4 {
        load_into(database.clone(), dirs[1 - swap % 2].path()).await;
        let served = if swap % 2 == 0 { 2 } else { 1 };
        rounds_go_by(&rounds, 20).await;
        assert_eq!(get(&host, "/products/3/overview").await.text(), overview(3, served));
        for back in [3 - served, served] {
            etl::load::rollback(&database.config(), || {}).await.unwrap();
            rounds_go_by(&rounds, 20).await;
            assert_eq!(get(&host, "/products/3/overview").await.text(), overview(3, back));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn equal_content_keeps_its_tag_across_a_reload_and_other_content_gets_another() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    write_marked(dirs[0].path(), 1);
    write_marked(dirs[1].path(), 2);
    let loaded = load(dirs[0].path()).await;
    let host = serve(&loaded.database).await;
    let tag = || async { get(&host, "/products/5/styles").await.header("etag").to_owned() };
    let first = tag().await;
    load_into(loaded.database.clone(), dirs[0].path()).await;
    assert_eq!(tag().await, first);
    load_into(loaded.database.clone(), dirs[1].path()).await;
    assert_ne!(tag().await, first);
}

#[tokio::test]
async fn a_cart_outlives_a_catalog_and_keeps_lines_of_skus_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    write_marked(dir.path(), 1);
    let loaded = load(conformance::small_dataset()).await;
    let host = serve(&loaded.database).await;
    let request =
        http::Request::post("/cart").header("authorization", "me").header("content-type", "application/json");
    let request = request.body(bytes::Bytes::from_static(br#"{"sku_id":16,"count":2}"#)).unwrap();
    assert_eq!(conformance::ask(&host, request).await.status, 201);
    std::fs::write(dir.path().join("skus.csv"), "id,styleId,size,quantity\n1,1,\"S\",1").unwrap();
    load_into(loaded.database.clone(), dir.path()).await;
    let cart = get_with(&host, "/cart", &[("authorization", "me")]).await;
    assert_eq!(cart.text(), r#"[{"sku_id":16,"count":2}]"#);
}
