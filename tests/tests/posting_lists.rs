//! The posting lists of categories and words, compared with plain SQL over the products.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fmt::Write;
use std::path::Path;

use rig::Database;
use support::{generated, load, small};
use tokio_postgres::Client;

/// The categories in blocks of 1,000 products.
const CATEGORIES: &str = "select category || ' ' || block || ' ' || products || ' ' || product_ids::text
     from catalog.categories order by category collate \"C\", block";

/// The same from the products: a block begins at each thousandth product.
const EXPECTED_CATEGORIES: &str =
    "select category || ' ' || block || ' ' || cardinality(ids) || ' ' || ids[block * 1000 + 1:block * 1000 + 1000]::text
     from (select category, array_agg(id order by id) as ids from catalog.products group by category) as whole,
          generate_series(0, (cardinality(ids) - 1) / 1000) as block
     order by category collate \"C\", block";

/// The words in blocks of 65,536 ranks.
const WORDS: &str =
    "select block || ' ' || word || ' ' || product_ids::text from catalog.words order by block, word";

/// The same from the products. The names have no other letters that are not ASCII.
const EXPECTED_WORDS: &str = "select block || ' ' || word || ' ' || array_agg(distinct id order by id)::text
     from (select (rank - 1) / 65536 as block, id, left(word, 64) collate \"C\" as word
           from catalog.products, regexp_split_to_table(lower(name), '[^a-z0-9äéñößł]+') as word
           where length(word) >= 3) as found
     group by block, word order by block, word";

async fn rows(client: &Client, query: &str) -> Vec<String> {
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Asserts that the lists are those of the products, and returns them.
async fn checked(database: &Database, name: &str) -> [Vec<String>; 2] {
    let client = database.connect().await.unwrap();
    let found = [rows(&client, CATEGORIES).await, rows(&client, WORDS).await];
    let expected = [rows(&client, EXPECTED_CATEGORIES).await, rows(&client, EXPECTED_WORDS).await];
    for (found, expected) in found.iter().zip(&expected) {
        assert!(!found.is_empty(), "{name}");
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found == expected, "{name}: {found:.200}, but {expected:.200}");
        }
    }
    found
}

#[tokio::test]
async fn posting_lists_equal_plain_sql_over_the_products() {
    checked(&small().await.database, "small").await;
    checked(&generated(0.002, 3, false).await.database, "generated").await;
    checked(&generated(0.000_5, 3, true).await.database, "generated, legacy format").await;
}

#[tokio::test]
async fn words_of_the_small_dataset_are_those_written_by_hand() {
    let client = small().await.database.connect().await.unwrap();
    let words = "select word || ' ' || product_ids::text from catalog.words order by word";
    let expected = [
        "barge {7}",
        "boots {7}",
        "cap {2}",
        "dress {20}",
        "ferry {12}",
        "größe {4}",
        "hara {2}",
        "kiln {20}",
        "plain {2}",
        "pocket {12}",
        "raincoat {1}",
        "socks {4}",
        "thistle {1}",
        "ticket {12}",
        "tollgate {9}",
        "trousers {9}",
    ];
    assert_eq!(rows(&client, words).await, expected);
}

/// Writes a dataset of products without anything else.
fn write_products(dir: &Path, rows: &str) {
    for table in &etl::table::TABLES {
        let rows = if table.is_ranked() { rows } else { "" };
        std::fs::write(dir.join(table.file), format!("{}\n{rows}", table.header())).unwrap();
    }
}

/// Products with every second id: a third in one category, and more than a block of words.
fn many_products(ids: impl Iterator<Item = i32>) -> String {
    let mut rows = String::new();
    for id in ids.map(|nth| 2 * nth) {
        let category = if id % 3 == 0 { "Boots".to_owned() } else { format!("category {}", id % 41) };
        let (adjective, thing) = (["Brisk", "Quiet", "Tin"][id.unsigned_abs() as usize % 3], id % 101);
        writeln!(rows, "{id},\"{adjective} Thing{thing}, No. {id}\",\"\",\"\",\"{category}\",1").unwrap();
    }
    rows
}

#[tokio::test]
async fn posting_lists_of_several_blocks_depend_on_neither_the_order_of_the_file_nor_rejected_duplicates() {
    const PRODUCTS: i32 = 70_000;
    let (sorted, shuffled) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_products(sorted.path(), &many_products(1..=PRODUCTS));
    let mut rows = many_products((1..=PRODUCTS).map(|nth| nth * 33 % (PRODUCTS + 1)));
    rows += "2,\"Duplicate Cap\",\"\",\"\",\"Caps\",1\n140000,\"Duplicate Cap\",\"\",\"\",\"Boots\",1\n";
    write_products(shuffled.path(), &rows);
    let (sorted, shuffled) = (load(sorted.path()).await, load(shuffled.path()).await);
    assert_eq!(shuffled.summary.files.iter().map(|file| file.counts.rejected).sum::<u64>(), 2);
    let lists = checked(&sorted.database, "sorted").await;
    assert!(lists == checked(&shuffled.database, "shuffled").await);
    let (blocks, words): (i64, i64) = {
        let client = sorted.database.connect().await.unwrap();
        let counts = "select (select max(block) from catalog.categories where category = 'Boots')::bigint,
                             (select count(*) from catalog.words where word = 'brisk')";
        let row = client.query_one(counts, &[]).await.unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!((blocks, words), (23, 2));
}
