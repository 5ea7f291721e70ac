//! Long lists: the loader's memory does not grow with their number.

// clippy.toml allows unwrap in tests, but not in their helper functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rig::Database;
use support::{edit, error, number, run, stdout, work_dir};

#[tokio::test]
async fn a_batch_of_long_lists_is_divided_and_a_list_over_16_mib_is_refused() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let value = "v".repeat(512 << 10);
    let add = |lines: &mut Vec<String>, product: u32, rows: u32| {
        let row = |id| format!("{id},{product},\"long\",\"{value}\"");
        lines.extend((0..rows).map(|nth| row(1_000_000 + 1000 * product + nth)));
    };
    // 120 MiB together, so they cannot be in one batch.
    edit(&dir, "features.csv", |lines| (1..=20).for_each(|product| add(lines, product, 12)));
    let summary = stdout(&run(&dir, &database.url(), &["load", "set"]));
    // Only Linux reports it. In one batch, the loader would hold the rows and their JSON.
    if let Some(peak) = summary.lines().find_map(|line| line.strip_prefix("peak memory of the loader: ")) {
        let megabytes: u32 = peak.strip_suffix(" MB").unwrap().parse().unwrap();
        assert!(megabytes < 160, "{peak}");
    }
    let long =
        "select count(*) from catalog.documents where product_id <= 20 and length(product) > 12 * 524288";
    assert_eq!(number(&database, long).await, 20);
    let others = "select count(*) - (select count(*) from catalog.products) from catalog.documents";
    assert_eq!(number(&database, others).await, 0, "each product has a document");

    edit(&dir, "features.csv", |lines| {
        lines.retain(|line| line.len() < value.len());
        add(lines, 40, 33);
    });
    let refused = error(&run(&dir, &database.url(), &["load", "set"]));
    assert!(refused.contains("product 40: features exceed the limit of 16 MiB of JSON"), "{refused}");
    assert_eq!(number(&database, long).await, 20, "the catalog stays");
}

/// Names with hundreds of thousands of words, and categories of many megabytes.
#[tokio::test]
async fn words_and_categories_that_exceed_the_memory_are_listed_all_the_same() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    edit(&dir, "product.csv", |lines| {
        for (id, line) in lines.iter_mut().enumerate().skip(1).take(60) {
            let words: String = (0..12_000).map(|nth| format!(" {id}word{nth}")).collect();
            *line = format!("{id},\"Common{words}\",\"\",\"\",\"{}\",1", id.to_string().repeat(450_000));
        }
    });
    let summary = stdout(&run(&dir, &database.url(), &["load", "set"]));
    if let Some(peak) = summary.lines().find_map(|line| line.strip_prefix("peak memory of the loader: ")) {
        let megabytes: u32 = peak.strip_suffix(" MB").unwrap().parse().unwrap();
        assert!(megabytes < 240, "{peak}");
    }
    let common = "select count(*) from catalog.words where word = 'common'";
    assert!(number(&database, common).await > 1, "the words were written before their block was complete");
    let listed =
        "select count(*) from (select distinct word, unnest(product_ids) from catalog.words) as listed";
    let words = "select count(*) from (select distinct id, word from catalog.products,
                 regexp_split_to_table(lower(name), '[^a-z0-9äéñ]+') as word where length(word) >= 3) as words";
    let found = number(&database, listed).await;
    assert!(found > 60 * 12_000, "{found}");
    assert_eq!(found, number(&database, words).await);

    let wrong = "select count(*)
        from (select category, array_agg(id order by id) as ids from catalog.products group by category) as expected
        full join catalog.categories using (category)
        where products is distinct from cardinality(ids) or product_ids is distinct from ids or block <> 0";
    assert_eq!(number(&database, wrong).await, 0);
    let long = "select products::bigint from catalog.categories
        where hashtextextended(category, 0) = hashtextextended(repeat('7', 450000), 0) and category = repeat('7', 450000)";
    assert_eq!(number(&database, long).await, 1);
}
