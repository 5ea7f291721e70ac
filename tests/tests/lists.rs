//! Lists by category and searches in a catalog of some thousand products, compared with the whole list.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use conformance::get;
use rig::Database;
use serde_json::Value;
use support::load;
use support::serving::{Socket, serve_with};

/// The number of products.
const PRODUCTS: u32 = 3000;

/// Categories, of which the first has most products: more than a row of `catalog.categories` holds.
const CATEGORIES: [&str; 4] = ["Boots & \"Söcken\"", "a", "Boots", "日本"];

const NAMES: [&str; 6] = ["Harbour", "harb'or", "HARVEST-Moon", "Ünder", "hood", "Hoodie"];

/// Serves a catalog with these categories and names, without a cache.
async fn host() -> (Socket, Database) {
    let dir = tempfile::tempdir().unwrap();
    let mut products = "id,name,slogan,description,category,default_price\n".to_owned();
    for number in 1..=PRODUCTS {
        let category =
            CATEGORIES[if number % 5 == 0 { number as usize / 5 % 4 } else { 0 }].replace('"', "\"\"");
        let name = [number % 6, number / 6 % 6, number / 36 % 6].map(|index| NAMES[index as usize]).join(" ");
        writeln!(products, "{},\"{name} {number}\",s,d,\"{category}\",1", 3 * number).unwrap();
    }
    for (file, text) in [
        ("product.csv", products.as_str()),
        ("features.csv", "id,product_id,feature,value\n"),
        ("styles.csv", "id,productId,name,sale_price,original_price,default_style\n"),
        ("photos.csv", "id,styleId,url,thumbnail_url\n"),
        ("skus.csv", "id,styleId,size,quantity\n"),
        ("related.csv", "id,current_product_id,related_product_id\n"),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let database = load(dir.path()).await.database;
    (serve_with(&database, &[("CACHE_BYTES", "0")]).await, database)
}

async fn list(host: Socket, query: &str) -> (Vec<Value>, String) {
    let response = get(&host, &format!("/products?{query}")).await;
    assert_eq!(response.status, 200, "{query}: {}", response.text());
    (serde_json::from_str(&response.text()).unwrap(), response.header("x-total-count").to_owned())
}

/// Returns all products, from the pages of the whole list.
async fn all(host: Socket) -> Vec<Value> {
    let mut all = Vec::new();
    for page in 1..=3 {
        all.extend(list(host, &format!("count=1000&page={page}")).await.0);
    }
    assert_eq!(all.len(), PRODUCTS as usize);
    all
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn pages_of_a_category_and_searches_agree_with_the_whole_list() {
    let (host, _) = host().await;
    let all = all(host).await;
    let mut categories = BTreeMap::<&str, Vec<&Value>>::new();
    for product in &all {
        categories.entry(product["category"].as_str().unwrap()).or_default().push(product);
    }
    for (category, products) in &categories {
        let total = products.len();
        for count in [7, 300, 999, 1000] {
            for (index, expected) in products.chunks(count).enumerate() {
                let page = index + 1;
                if count == 7
                    && ![1, 2, total / 7, total / 7 + 1].contains(&page)
                    && page * 7 / 1000 == index * 7 / 1000
                {
                    continue; // only the first and last pages, and those across blocks
                }
                let query = format!("category={}&count={count}&page={page}", encoded(category));
                let (found, found_total) = list(host, &query).await;
                assert!(found.iter().eq(expected.iter().copied()), "{query}");
                assert_eq!(found_total, total.to_string(), "{query}");
            }
            let past =
                format!("category={}&count={count}&page={}", encoded(category), total.div_ceil(count) + 1);
            assert_eq!(list(host, &past).await, (Vec::new(), String::new()), "{past}");
        }
    }
    let expected: Vec<Value> = categories
        .iter()
        .map(|(category, products)| serde_json::json!({"category": category, "products": products.len()}))
        .collect();
    let response = get(&host, "/categories").await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&response.text()).unwrap(), expected);

    for q in [
        "harb",
        "HARBOUR",
        "har moon",
        "ünd hoo",
        "hood",
        "hoodi harv ünder",
        "hood 2999",
        "har 299",
        "299 300",
        "hoodies",
    ] {
        let words = |text: &str| -> Vec<String> {
            let split = text.split(|c: char| !c.is_alphanumeric());
            split.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
        };
        let is_found = |product: &&Value| {
            let name = words(product["name"].as_str().unwrap());
            words(q).iter().all(|prefix| name.iter().any(|word| word.len() >= 3 && word.starts_with(prefix)))
        };
        let expected: Vec<&Value> = all.iter().filter(is_found).take(20).collect();
        let found = list(host, &format!("q={}", encoded(q))).await.0;
        assert!(found.iter().eq(expected), "{q}: {found:?}");
    }
}

/// Blocks of words are 65,536 products each. Here a few products stand for millions.
#[tokio::test]
async fn a_search_finds_products_of_all_blocks_by_the_index() {
    let (host, database) = host().await;
    let client = database.connect().await.unwrap();
    let rows = "update catalog.products set total = 5000000;
        insert into catalog.words (block, word, product_ids) values
            (0, 'zanzibar', '{3,9}'), (0, 'zanzibars', '{6,9}'), (1, 'zanzibar', '{12}'), (2, 'zanz', '{15}'),
            (8, 'zanzibar', '{18,21}'), (76, 'zanzibar', '{24}'), (76, 'other', '{24}'), (77, 'zanzibar', '{27}');
        insert into catalog.words (block, word, product_ids)
            select number % 77, md5(number::text), '{3}' from generate_series(1, 200000) as number;
        analyze catalog.words";
    client.batch_execute(rows).await.unwrap();
    let scans = async || {
        let scans = "select seq_scan, idx_scan from pg_stat_user_tables
                     where schemaname = 'catalog' and relname = 'words'";
        let row = client.query_one(scans, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (sequential, by_index) = scans().await;
    let ids = async |q: &str| -> Vec<i64> {
        let found = list(host, &format!("q={q}")).await.0;
        found.iter().map(|product| product["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids("zanzibar").await, [3, 6, 9, 12, 18, 21, 24]);
    assert_eq!(ids("zanz").await, [3, 6, 9, 12, 15, 18, 21, 24]);
    assert_eq!(ids("zanz+oth").await, [24]);
    assert_eq!(ids("zanzibar+missing").await, [0; 0]);
    let counted = async {
        while scans().await.1 < by_index + 40 {
            tokio::time::sleep(Duration::from_millis(50)).await; // Postgres reports its counts once a second
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("searches do not use the index");
    assert_eq!(scans().await.0, sequential, "a search reads the whole table");
}
