//! Datasets whose responses all show the dataset's mark, and readers that verify it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conformance::{get, get_with, send};
use http::Request;
use tokio::task::JoinHandle;

use super::serving::Socket;

/// The time limit until the host serves another catalog.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(60);

/// The number of products in a marked dataset.
const PRODUCTS: u32 = 40;

/// Writes a dataset whose responses all show its mark: in the texts, and in the one product that is related to all.
pub fn write_marked(dir: &Path, mark: u32) {
    let ids = || (1..=PRODUCTS).chain([PRODUCTS + mark]); // one product that no other dataset has
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

/// Returns the overview of a product in a dataset with this mark.
pub fn overview(id: u32, mark: u32) -> String {
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

/// Returns the bodies of the responses that combine several reads, by path: all with this mark.
fn combined(mark: u32) -> Vec<(String, String)> {
    let lists = [2, 20].map(|count| {
        let objects: Vec<_> = (1..=count).map(|id| format!("{{{}}}", listed(id, mark))).collect();
        format!("[{}]", objects.join(","))
    });
    let card = |id| {
        format!(
            r#"{{"id":{id},"name":"name {mark}","category":"category {mark}","default_price":"{mark}","original_price":"{mark}","sale_price":null,"thumbnail_url":"https://photos.example/{mark}","in_stock":true}}"#
        )
    };
    let line = |id| {
        format!(
            r#"{{"sku_id":{id},"count":{id},"product_id":{id},"product_name":"name {mark}","style_id":{id},"style_name":"style {mark}","size":"size {mark}","original_price":"{mark}","sale_price":null,"thumbnail_url":"https://photos.example/{mark}","quantity":{mark}}}"#
        )
    };
    let [of_category, found] = lists;
    vec![
        (format!("/products?category=category+{mark}&count=2"), of_category),
        ("/products?q=nam".to_owned(), found),
        (
            "/categories".to_owned(),
            format!(r#"[{{"category":"category {mark}","products":{}}}]"#, PRODUCTS + 1),
        ),
        ("/cards?count=2".to_owned(), format!("[{},{}]", card(1), card(2))),
        ("/cards?ids=9,3,9".to_owned(), format!("[{0},{1},{0}]", card(9), card(3))),
        ("/cards?ids=41,42,9".to_owned(), format!("[{},{}]", card(PRODUCTS + mark), card(9))),
        ("/cart/lines".to_owned(), format!("[{},{}]", line(7), line(5))),
    ]
}

/// Requests each kind of response until `stop` is set. Each response must be of one catalog, with mark 1 or 2.
async fn read(host: Socket, first: u32, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let lists = [list(1), list(2)];
    let combined = [combined(1), combined(2)].concat();
    let identity = ("authorization", "a reader's");
    for id in [7, 5] {
        let put = Request::put(format!("/cart/{id}")).header(identity.0, identity.1);
        let put = put.header("content-type", "application/json").body(format!(r#"{{"count":{id}}}"#).into());
        assert_eq!(send(&host, put.unwrap()).await.status, 200);
    }
    for id in (1..=PRODUCTS).cycle().skip(first as usize) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let path = format!("/products/{id}/overview");
        let response = get_with(&host, &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let text = response.text();
        assert!(text == overview(id, 1) || text == overview(id, 2), "{text}");
        let response = get(&host, &format!("/products?count={PRODUCTS}")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(lists.contains(&response.text()), "{}", response.text());
        let path = &combined[id as usize % combined.len()].0;
        let mut response = get_with(&host, path, &[identity]).await;
        if response.text().contains("The catalog has just changed") {
            response = get_with(&host, path, &[identity]).await; // as `Retry-After` says; publishes follow closely here
        }
        let is_expected = |body: String| {
            combined.iter().any(|(of, expected)| of == path && *expected == body)
                || path.contains("category=") && body == "[]"
        };
        assert!(response.status == 200 && is_expected(response.text()), "{path}: {}", response.text());
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Several concurrent readers, which run until they are stopped.
pub struct Readers {
    host: Socket,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    running: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts `number` readers on this host, which serves catalogs with the marks 1 and 2.
    pub fn start(host: Socket, number: u32) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let running = (0..number)
            .map(|n| tokio::spawn(read(host, 7 * n, Arc::clone(&stop), Arc::clone(&rounds))))
            .collect();
        Self { host, stop, rounds, running }
    }

    /// Waits until the host serves this mark, which it does within about a second, and for a few more rounds of
    /// reading.
    pub async fn find(&self, mark: u32) {
        let finding = async {
            while get(&self.host, "/products/3/overview").await.text() != overview(3, mark) {
                self.wait_for_rounds(1).await;
            }
            self.wait_for_rounds(20).await;
        };
        tokio::time::timeout(SWITCH_TIMEOUT, finding).await.expect("the host still serves another catalog");
        assert_eq!(get(&self.host, "/products/3/overview").await.text(), overview(3, mark));
    }

    /// Waits for this many more rounds of reading.
    async fn wait_for_rounds(&self, rounds: u64) {
        let until = self.rounds.load(Ordering::Relaxed) + rounds;
        while self.rounds.load(Ordering::Relaxed) < until {
            assert!(!self.running.iter().any(JoinHandle::is_finished), "a reader failed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the readers, and returns their number of rounds. Panics if a reader failed.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.running {
            reader.await.unwrap();
        }
        self.rounds.load(Ordering::Relaxed)
    }
}
